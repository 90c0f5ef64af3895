# Configs cannot be changed in place: count up when the file changes.
export APP_NOTES_VERSION=v3
export APP_INDEX_VERSION=v3
