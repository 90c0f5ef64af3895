#!/bin/sh
echo "the dump of $CCCI_VARIANT is empty" >&2
exit 1
