#!/usr/bin/env python3
"""Drives a real relay with what its own description allows and forbids (schemathesis): no answer may be a server error, and
every answer must be one that the description has. Usage: run.py BINARY [SECONDS]. Traffic goes to 127.0.0.1 only."""
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
CONFIG = pathlib.Path(__file__).resolve().with_name("schemathesis.toml")
CALLBACK = "urn:ietf:wg:oauth:2.0:oob"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def start(binary: str, state: str) -> tuple[subprocess.Popen, str]:
    environment = {
        "HOME": state,
        "DOTENV_PATH": "-",
        "JWT_SIGNING_KEY": "a-signing-key-for-the-schema-test-only",
        # What is limited is not looked at here.
        "RELAY_OAUTH_LIMIT_PER_WINDOW": "100000",
    }
    process = subprocess.Popen(
        [binary, "relay", "--port", "0", "--json"], env=environment, stdout=subprocess.PIPE, text=True, cwd=state
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())["url"]


def wait_until_ready(url: str) -> None:
    """It listens before its store is open: until then requests are answered 503."""
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{url}/readyz", timeout=10).close()
            return
        except urllib.error.HTTPError as answer:
            answer.close()
            time.sleep(0.1)
    raise TimeoutError("the relay was not ready after 30 s")


def token(url: str) -> str:
    query = urllib.parse.urlencode(
        {
            "response_mode": "json",
            "redirect_uri": CALLBACK,
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "demo_email": "schema@example.org",
        }
    )
    with urllib.request.urlopen(f"{url}/oauth/authorize?{query}", timeout=10) as answer:
        code = json.load(answer)["code"]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    body = urllib.parse.urlencode(form).encode()
    with urllib.request.urlopen(f"{url}/oauth/token", data=body, timeout=10) as answer:
        return json.load(answer)["access_token"]


def main() -> int:
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 120
    with tempfile.TemporaryDirectory() as state:
        process, url = start(binary, state)
        try:
            wait_until_ready(url)
            command = [
                sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{url}/openapi.json", "--url", url, "--header", f"Authorization: Bearer {token(url)}",
                "--checks", CHECKS, "--max-time", str(seconds), "--request-timeout", "10", "--seed", "1", "--workers", "2",
                "--generation-database", "none",
                # Streams do not end by themselves.
                "--exclude-operation-id", "deviceEvents", "--exclude-operation-id", "sessionEvents",
            ]  # fmt: skip
            failed = subprocess.run(command, cwd=state, timeout=seconds + 120).returncode
            with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
                answer.read()
        finally:
            process.terminate()
            process.wait(timeout=30)
    return failed or process.returncode


if __name__ == "__main__":
    sys.exit(main())
