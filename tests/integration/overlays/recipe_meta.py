"""Settings of the recipe."""
import os
_KEY = "a" * 64
_PORT = 64738
HEALTH_PATH = "/x"  # asked first
HEALTH_OK = (200, 302,)
DEPLOY_TIMEOUT: int = 2_400
EXTRA_ENV = {
    "COLOUR": 'bl' "ue",
    "LIMIT": 5,
    "ON": True,
    "LONG": """two
lines""",
}
READY_PROBE = [{"tcp_host": "127.0.0.1", "tcp_port": _PORT, "stable": 3}]
BACKUP_CAPABLE = None
DEPS = ["keycloak"]
WARM_CANONICAL = True
EXPECTED_NA = {"functional": "no tests yet"}
def UPGRADE_EXTRA_ENV(ctx):
    return {"COMPOSE_FILE": "x"}


def BACKUP_VERIFY(ctx):
    return check(ctx)


SIDE = f"side.{os.name}"
HTTP_TIMEOUT = "soon"
HTTP_TIMEOUTS = 5
