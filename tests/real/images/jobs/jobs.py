"""What the worker does."""

import os

import redis
import rq


def upper(text):
    store = redis.Redis.from_url(os.environ["REDIS_URL"])
    store.set("result:" + rq.get_current_job().id, text.upper())
    store.incr("done")
    return text.upper()
