"""Takes jobs over HTTP, gives them to the worker through Redis, and shows what came of them.

POST /  TEXT     puts a job into the queue, answers its id
GET /result/ID   what the worker made of it, 202 while it has not
GET /            how many jobs were done
"""

import os
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import redis
import rq

REDIS = redis.Redis.from_url(os.environ["REDIS_URL"])
QUEUE = rq.Queue(connection=REDIS)


class Web(BaseHTTPRequestHandler):
    def answer(self, status, text):
        body = (text + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = urllib.parse.urlparse(self.path).path
        if path.startswith("/result/"):
            result = REDIS.get("result:" + path.rsplit("/", 1)[1])
            return self.answer(200, result.decode()) if result else self.answer(202, "not yet")
        done = int(REDIS.get("done") or 0)
        self.answer(200, f"jobs {os.environ['JOBS_VERSION']}: {done} done")

    def do_POST(self):
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.answer(200, QUEUE.enqueue("jobs.upper", text, result_ttl=-1).id)


ThreadingHTTPServer(("", 8000), Web).serve_forever()
