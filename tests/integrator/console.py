#!/usr/bin/env python3
"""A Deckport console client, written from docs/protocol.md alone, with Python's standard library.

    console.py --collector http://127.0.0.1:7443 --token-file F --name NAME --spool DIR -- COMMAND...
    console.py --collector http://127.0.0.1:7443 --token-file F --spool DIR

The first form runs a command, keeps its output in DIR and streams it; it exits with the command's code.
The second delivers what an earlier run left in DIR, which it ends as `interrupted` when it had no end.
Exit code 75: not everything could be delivered within --patience seconds; it is still in DIR.
"""

import argparse, base64, hashlib, json, os, random, secrets, select, signal, socket, struct
import subprocess, sys, threading, time, uuid
from urllib.parse import urlsplit

PIECE, QUIET, BATCH = 16 * 1024, 0.020, 64


def wall_us():
    return time.time_ns() // 1000


def boot_us():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def boot_id():
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def uuid7():
    """Version 7: 48 bits of milliseconds, then random bits."""
    bits = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    bits = bits & ~(0xF << 76) | 0x7 << 76
    bits = bits & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=bits))


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


# --- the spool: one file of JSON lines, one for each record -------------------------------------


class Spool:
    """Records on disk. A record is in `lines` (and so may be sent) only after its fsync."""

    def __init__(self, path, new=None):
        os.makedirs(path, mode=0o700, exist_ok=True)
        self.path = path
        self.changed = threading.Condition()
        self.lines = []  # (last seq, boot id, JSON text)
        self.chain, self.heads = bytes(32), {0: bytes(32)}  # the chain's head after each record
        self.ended = False
        head = os.path.join(path, "stream.json")
        if new is not None:
            self.stream = {**new, "incarnation": 1}
        else:
            with open(head) as file:
                self.stream = json.load(file)
            self.stream["incarnation"] += 1
        replace(head, compact(self.stream))
        self.log = open(os.path.join(path, "records"), "ab+")
        self.log.seek(0)
        good = 0
        for raw in self.log:
            try:
                boot, record = json.loads(raw)
            except ValueError:
                break  # a torn end
            if not raw.endswith(b"\n"):
                break
            good += len(raw)
            self._take(boot, record)
        self.log.truncate(good)
        os.fsync(self.log.fileno())
        fsync_dir(path)

    @property
    def last_seq(self):
        return self.lines[-1][0] if self.lines else 0

    def _take(self, boot, record):
        last, data, kind = record["seq"], b"", 0
        if "event" in record:
            event = record["event"]
            data, kind = compact(event).encode(), 1
            if event["kind"] == "gap":
                last = event["last_seq"]
                kind = 2 if last > record["seq"] else 1
            self.ended = self.ended or event["kind"] == "deployment_finished"
        else:
            data = bytes_of(record)
            kind = (4 if record.get("continues") else 0) + (8 if record.get("source") == "agent" else 0)
        head = struct.pack(
            "<QQQqBI", record["seq"], last, record["boot_us"], record["at_us"], kind, len(data)
        )
        self.chain = self.heads[last] = hashlib.sha256(self.chain + head + data).digest()
        self.lines.append((last, boot, compact(record)))

    def append(self, bodies):
        """Numbers the bodies, makes them durable, and only then lets them be sent."""
        boot, seq, taken = boot_id(), self.last_seq, []
        for body in bodies:
            seq += 1
            taken.append({"seq": seq, "boot_us": boot_us(), "at_us": wall_us(), **body})
        self.log.write(b"".join(compact([boot, record]).encode() + b"\n" for record in taken))
        self.log.flush()
        os.fsync(self.log.fileno())
        with self.changed:
            for record in taken:
                self._take(boot, record)
            self.changed.notify_all()

    def batch(self, after, limits):
        """The next batch behind `after`, as the text of a `records` message, and its last seq."""
        records, size, boot, last = [], 0, None, after
        # Without holes the record `n` stands at index n - 1 or, behind gaps, before that.
        start = min(after, len(self.lines))
        while start > 0 and self.lines[start - 1][0] > after:
            start -= 1
        for seq, its_boot, text in self.lines[start:]:
            size += len(text.encode()) + 1
            full = len(records) >= min(BATCH, limits["records"]) or size + 200 > limits["message_bytes"] // 4
            if records and (full or its_boot != boot):
                break
            boot, last = its_boot, seq
            records.append(text)
        if not records:
            return None
        return '{"type":"records","boot_id":"%s","records":[%s]}' % (boot, ",".join(records)), last


def bytes_of(record):
    return record["text"].encode() if "text" in record else base64.b64decode(record["bytes"])


def output(data, continues):
    body = {"continues": True} if continues else {}
    try:
        return {"text": data.decode(), **body}
    except UnicodeDecodeError:
        return {"bytes": base64.b64encode(data).decode(), **body}


def replace(path, text):
    with open(path + ".new", "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".new", path)
    fsync_dir(os.path.dirname(path) or ".")


def fsync_dir(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


# --- a WebSocket client, as much of RFC 6455 as is needed ---------------------------------------


class Closed(Exception):
    """The link is gone; dialling again can help."""


class Refused(Exception):
    """An error that dialling again cannot help."""


class WebSocket:
    def __init__(self, address, path, token):
        self.socket = socket.create_connection((address.hostname, address.port or 7443), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sending = threading.Lock()
        self.unread = b""
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        self.socket.sendall(
            (
                f"GET {path} HTTP/1.1\r\nHost: {address.hostname}:{address.port or 7443}\r\n"
                f"Authorization: Bearer {token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
            ).encode()
        )
        while b"\r\n\r\n" not in self.unread:
            self._more()
        head, _, self.unread = self.unread.partition(b"\r\n\r\n")
        if head.split(b" ")[1] != b"101":
            self._refused(head)
        accept = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        if base64.b64encode(accept) not in head:
            raise Closed("that is no WebSocket")

    def _refused(self, head):
        length = [h for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:")]
        while length and len(self.unread) < int(length[0].split(b":")[1]):
            self._more()
        try:
            error = json.loads(self.unread)["error"]
        except (ValueError, KeyError):
            raise Closed(head.split(b"\r\n")[0].decode())
        raise (Closed if error["retryable"] else Refused)(f'{error["message"]} ({error["code"]})')

    def _more(self):
        data = self.socket.recv(65536)
        if not data:
            raise Closed("the collector closed the link")
        self.unread += data

    def _take(self, count):
        while len(self.unread) < count:
            self._more()
        taken, self.unread = self.unread[:count], self.unread[count:]
        return taken

    def _send(self, opcode, payload):
        mask = secrets.token_bytes(4)
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
        elif size < 65536:
            head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
        whole = (mask * (size // 4 + 1))[:size]
        masked = (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(size, "big")
        with self.sending:
            self.socket.sendall(head + mask + masked)

    def send(self, message):
        self._send(1, (message if isinstance(message, str) else compact(message)).encode())

    def receive(self):
        """The next text message, parsed. Raises `socket.timeout` when the collector is silent."""
        parts = b""
        while True:
            first, second = self._take(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", self._take(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", self._take(8))
            payload, opcode = self._take(size), first & 0xF
            if opcode == 8:
                raise Closed("the collector closed the link: " + payload[2:].decode(errors="replace"))
            if opcode == 9:
                self._send(10, payload)
            elif opcode in (0, 1, 2):
                parts += payload
                if first & 0x80:
                    return json.loads(parts)

    def close(self):
        try:
            self._send(8, struct.pack("!H", 1000))
        except OSError:
            pass
        self.socket.close()


# --- delivering ------------------------------------------------------------------------------------


class Delivery(threading.Thread):
    def __init__(self, arguments, spool, on_order):
        super().__init__(daemon=True)
        self.arguments, self.spool, self.on_order = arguments, spool, on_order
        self.acked, self.sessions, self.failure = 0, 0, None
        self.done = threading.Event()

    def run(self):
        pause = 0.1
        while not self.done.is_set():
            sessions = self.sessions
            try:
                self.session()
            except Refused as refusal:
                self.failure = str(refusal)
                self.done.set()
            except (Closed, OSError, ValueError) as fault:
                self.failure = f"{type(fault).__name__}: {fault}"
                if self.sessions > sessions:
                    pause = 0.1
                time.sleep(pause * random.uniform(0.5, 1))
                pause = min(pause * 2, 5)

    def session(self):
        with open(self.arguments.token_file) as file:
            token = file.read().strip()
        stream, spool = self.spool.stream, self.spool
        link = WebSocket(
            urlsplit(self.arguments.collector), "/ws/deployment/" + stream["deployment_id"], token
        )
        link.socket.settimeout(10)
        gone = threading.Event()
        try:
            link.send(
                {"type": "hello", "protocol": 1, **stream, "agent_version": "console.py",
                 "lowest_seq": 1 if spool.lines else 0, "highest_seq": spool.last_seq}
            )
            welcome = link.receive()
            if welcome["type"] == "error":
                self.refuse(welcome)
            self.sessions += 1
            self.check(welcome)
            self.acked = welcome["acked_seq"]
            self.position = self.acked
            if self.finished():
                return
            threading.Thread(target=self.send, args=(link, welcome["limits"], gone), daemon=True).start()
            while not self.finished():
                self.heard(link, link.receive())
        finally:
            gone.set()
            with spool.changed:
                spool.changed.notify_all()
            link.close()

    def finished(self):
        if self.spool.ended and self.acked == self.spool.last_seq:
            self.done.set()
        return self.done.is_set()

    def check(self, message):
        if message["acked_seq"] > self.spool.last_seq:
            raise Refused("the collector has more of this run than the spool")
        if bytes.fromhex(message["chain"]) != self.spool.heads.get(message["acked_seq"]):
            raise Refused("the collector holds other records than were sent")

    def refuse(self, error):
        raise (Closed if error["retryable"] else Refused)(f'{error["message"]} ({error["code"]})')

    def heard(self, link, message):
        kind = message.get("type")
        if kind == "ack":
            self.check(message)
            self.acked = message["acked_seq"]
            with self.spool.changed:
                self.spool.changed.notify_all()
        elif kind == "ping":
            now = wall_us()
            link.send({"type": "pong", "sent_us": message["sent_us"], "received_us": now, "answered_us": wall_us()})
        elif kind == "order":
            self.on_order(message)
        elif kind == "error" and message["code"] == "sequence_gap":
            with self.spool.changed:
                self.position = message["acked_seq"]
                self.spool.changed.notify_all()
        elif kind == "error" and message["code"] != "unknown_message":
            self.refuse(message)

    def send(self, link, limits, gone):
        """Sends what the spool holds, within the window, and a ping every 5 s."""
        in_flight, pinged = [], 0.0
        try:
            while not gone.is_set():
                with self.spool.changed:
                    in_flight = [(seq, size) for seq, size in in_flight if seq > self.acked]
                    room = sum(size for _, size in in_flight) < min(limits["unacked_bytes"], 1 << 20)
                    batch = self.spool.batch(self.position, limits) if room else None
                    if batch is None:
                        self.spool.changed.wait(timeout=1)
                    else:
                        text, self.position = batch
                        in_flight.append((self.position, len(text)))
                if batch is not None:
                    link.send(text)
                if time.monotonic() - pinged >= 5:
                    pinged = time.monotonic()
                    link.send({"type": "ping", "sent_us": wall_us()})
                    link.send({"type": "transient", "highest_seq": self.spool.last_seq})
        except OSError:
            pass  # the reading side notices as well


# --- recording ---------------------------------------------------------------------------------------


class Recorder:
    def __init__(self, spool):
        self.spool, self.orders, self.child, self.cancelled = spool, [], None, None

    def order(self, message):
        self.orders.append(message)

    def obey(self):
        bodies = []
        while self.orders:
            message = self.orders.pop(0)
            kind = message["order"].get("kind")
            accepted = kind == "cancel" and self.cancelled is None
            if accepted:
                self.cancelled = [time.monotonic(), message["order"]["grace_ms"] / 1000,
                                  [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]]
            bodies.append({"event": {"kind": "order_result", "order_id": message["order_id"],
                                     "order": kind or "", "accepted": accepted}})
        if self.cancelled and self.cancelled[2] and time.monotonic() >= self.cancelled[0]:
            self.cancelled[0] += self.cancelled[1]
            try:
                os.killpg(self.child.pid, self.cancelled[2].pop(0))
            except ProcessLookupError:
                pass
        return bodies

    def run(self, name, command):
        started = {"kind": "deployment_started", "console_id": self.spool.stream["console_id"],
                   "console_name": name, "command": command, "agent_version": "console.py",
                   "boot_id": boot_id(), "context": {"os": {"kernel": os.uname().release}}}
        self.spool.append([{"event": started}])
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      start_new_session=True)
        pipe, pending, quiet_from, open_ = self.child.stdout.fileno(), b"", 0.0, True
        while open_:
            ready, _, _ = select.select([pipe], [], [], QUIET if pending else 0.1)
            bodies = self.obey()
            if ready:
                data = os.read(pipe, 1 << 16)
                open_ = bool(data)
                pending, quiet_from = pending + data, time.monotonic()
            quiet = time.monotonic() - quiet_from >= QUIET
            while pending:
                end = pending.find(b"\n", 0, PIECE) + 1
                size = end or (PIECE if len(pending) >= PIECE else 0)
                if not size and (quiet or not open_):
                    size = len(pending)
                if not size:
                    break
                bodies.append(output(pending[:size], continues=not end))
                pending = pending[size:]
            if bodies:
                self.spool.append(bodies)
        code = self.child.wait()
        exit_ = {"kind": "code", "code": code} if code >= 0 else \
            {"kind": "signal", "signal": -code, "name": signal.Signals(-code).name}
        outcome = "succeeded" if code == 0 else "cancelled" if self.cancelled else "failed"
        finish(self.spool, outcome, exit_)
        return code if code >= 0 else 128 - code


def finish(spool, outcome, exit_=None, message=""):
    event = {"kind": "deployment_finished", "outcome": outcome, "message": message}
    spool.append([{"event": {**event, "exit": exit_} if exit_ else event}])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collector", required=True)
    parser.add_argument("--token-file", required=True)
    parser.add_argument("--spool", required=True)
    parser.add_argument("--name", default=socket.gethostname())
    parser.add_argument("--template")
    parser.add_argument("--patience", type=float, default=30)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    command = [part for index, part in enumerate(arguments.command) if index or part != "--"]
    new = None
    if command:
        if os.path.exists(os.path.join(arguments.spool, "stream.json")):
            parser.error("the spool holds a run already; deliver it first (leave the command out)")
        new = {"deployment_id": uuid7(), "stream_id": str(uuid.uuid4()), "console_id": uuid7(),
               "console_name": arguments.name, "template": arguments.template}
    spool = Spool(arguments.spool, new)
    recorder = Recorder(spool)
    if not command and not spool.ended:
        finish(spool, "interrupted", message="the client ended before the command did")
    delivery = Delivery(arguments, spool, recorder.order)
    delivery.start()
    code = recorder.run(arguments.name, command) if command else 0
    deadline = time.monotonic() + arguments.patience
    while not delivery.done.wait(0.05) and time.monotonic() < deadline:
        pass
    complete = spool.ended and delivery.acked == spool.last_seq
    print(compact({"deployment_id": spool.stream["deployment_id"], "records": spool.last_seq,
                   "acked_seq": delivery.acked, "sessions": delivery.sessions,
                   "incarnation": spool.stream["incarnation"],
                   "failure": None if complete else delivery.failure}), file=sys.stderr)
    if command:
        return code
    return 0 if complete else 75


if __name__ == "__main__":
    sys.exit(main())
