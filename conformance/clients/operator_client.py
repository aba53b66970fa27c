"""The tour of the README in Python, over `websockets`: connect, health, a streamed run, its replay, a cancelled run.

It asks as any client would and stops with exit code 1 at the first answer that is not as the protocol says.

    python3 operator_client.py [ws://127.0.0.1:18789/gateway]        the token comes from OPENGOAT_GATEWAY_TOKEN

(Not `operator.py`: a file of that name hides the standard library's module from everything it imports.)
"""

import json
import os
import platform
import sys
import uuid

from websockets.sync.client import ClientConnection, connect


class Refused(Exception):
    """The gateway answered with an error."""


class Client:
    """Frames over one socket: a request's answer, and the events that came before it."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.answers: dict[str, dict] = {}

    def receive(self) -> dict:
        return json.loads(self.socket.recv(timeout=30))

    def send(self, method: str, params: dict | None = None) -> str:
        frame = {"type": "req", "id": str(uuid.uuid4()), "method": method}
        if params is not None:
            frame["params"] = params
        self.socket.send(json.dumps(frame))
        return frame["id"]

    def event(self, name: str) -> dict:
        """The next event of this name; answers that come first are kept."""
        while True:
            frame = self.receive()
            if frame["type"] == "event" and frame["event"] == name:
                return frame["payload"]
            if frame["type"] == "res":
                self.answers[frame["id"]] = frame

    def answer(self, request: str, stream: list[str] | None = None) -> dict:
        """The payload of the answer to `request`; what agents print meanwhile is added to `stream`."""
        while request not in self.answers:
            frame = self.receive()
            if frame["type"] == "res":
                self.answers[frame["id"]] = frame
            elif frame["event"] == "agent.stream" and stream is not None:
                stream.append(frame["payload"]["chunk"])
        frame = self.answers.pop(request)
        if not frame["ok"]:
            raise Refused(f"{frame['error']['code']}: {frame['error']['message']}")
        return frame["payload"]

    def call(self, method: str, params: dict | None = None, stream: list[str] | None = None) -> dict:
        return self.answer(self.send(method, params), stream)


def check(holds: bool, what: str) -> None:
    if not holds:
        sys.exit(f"not as the protocol says: {what}")


def say_hello(client: Client) -> None:
    # The gateway speaks first; its nonce goes back with the token.
    nonce = client.event("connect.challenge")["nonce"]
    params = {
        "minProtocol": 1,
        "maxProtocol": 1,
        "client": {
            "id": "tour-python",
            "version": "1.0.0",
            "platform": platform.system().lower(),
            "mode": "cli",
            "instanceId": str(uuid.uuid4()),
        },
        "scopes": ["operator.read", "operator.write"],
        "nonce": nonce,
    }
    if token := os.environ.get("OPENGOAT_GATEWAY_TOKEN"):
        params["auth"] = {"token": token}
    hello = client.call("connect", params)
    check(hello["type"] == "hello-ok", "the answer to connect")
    print(f"connected to gateway {hello['server']['version']}, protocol {hello['protocol']}")


def run_and_replay(client: Client) -> str:
    order = {"message": "hello from python", "idempotencyKey": str(uuid.uuid4())}
    stream: list[str] = []
    first = client.call("agent.run", order, stream)
    check(first["result"]["code"] == 0, "the exit code")
    check("".join(stream) == first["result"]["stdout"], "the stream is the output")
    print(f"run {first['runId']}: {''.join(stream)!r}")
    # The same key again: the same result, and the agent does not run a second time.
    stream.clear()
    again = client.call("agent.run", order, stream)
    check(again == first and not stream, "the replay")
    print(f"replayed: run {again['runId']}")
    return first["result"]["stdout"]


def cancel(client: Client) -> None:
    """A long run, cancelled as soon as it says something."""
    run = client.send("agent.run", {"agentId": "slow", "message": "wait", "idempotencyKey": str(uuid.uuid4())})
    client.event("agent.stream")
    client.call("agent.cancel", {"runId": run})
    try:
        client.answer(run)
    except Refused as refused:
        print(f"cancelled: {refused}")
    else:
        check(False, "a cancelled run has no result")


def tour(client: Client) -> None:
    say_hello(client)
    health = client.call("health")
    check(health["status"] == "ok", "health")
    agents = [agent["id"] for agent in client.call("agent.list")["agents"]]
    print(f"health: {health['status']}; agents: {', '.join(agents)}")
    answer = run_and_replay(client)
    if "slow" in agents:
        cancel(client)
    else:
        print('cancel: left out, there is no agent "slow" (start the gateway with --config conformance/clients/tour.json5)')
    messages = client.call("session.history", {"limit": 2})["history"]["messages"]
    for message in messages:
        print(f"{message['role']}: {message['content']}")
    check(messages[-1]["content"].strip() == answer.strip(), "the history")


URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:18789/gateway"
with connect(URL, proxy=None, open_timeout=10, close_timeout=10) as connection:
    tour(Client(connection))
