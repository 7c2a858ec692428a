"""What the server publishes for somebody never runs what that somebody may not run himself."""
import json

from harness import Cluster, Server, eventually
from raw import connect

CONF = """
accounts {
  A {
    jetstream: enabled
    users: [
      {user: admin, password: p},
      {user: mallory, password: p, permissions: {
        publish: ["$JS.API.INFO", "$JS.API.CONSUMER.MSG.NEXT.ORDERS.c", "$JS.ACK.>", "orders.new", "echo"]
        subscribe: ["_INBOX.>", "echo"], allow_responses: true}}
    ]
    exports: [{service: "$JS.API.>", response_type: stream}, {service: "$JS.ACK.>"}, {service: "svc"}]
  }
  B {
    jetstream: enabled
    users: [
      {user: b, password: p},
      {user: eve, password: p, permissions: {publish: ["$JS.API.INFO", "ask", "$JS.API.CONSUMER.MSG.NEXT.OWN.c"]
                                             subscribe: "_INBOX.>"}}
    ]
    imports: [{service: {account: A, subject: "$JS.API.>"}, to: "a.api.>"}
              {service: {account: A, subject: "$JS.ACK.>"}, to: "a.ack.>"}
              {service: {account: A, subject: "svc"}, to: "ask"}]
  }
}
"""
EVIL = json.dumps({"name": "EVIL", "subjects": ["evil"]}).encode()


def login(server, user):
    options = {"verbose": False, "pedantic": False, "user": user, "pass": "p", "headers": True,
               "no_responders": True}
    c = connect(server, json.dumps(options).encode())
    c.send(b"SUB _INBOX.%s.* 1\r\n" % user.encode())
    c.user, c.asked = user.encode(), 0
    return c


def sync(c):
    return c.send(b"PING\r\n").until(b"PONG\r\n")


def api(c, subject, body=None):
    c.asked += 1
    inbox = b"_INBOX.%s.%d" % (c.user, c.asked)
    text = b"" if body is None else json.dumps(body).encode()
    c.send(b"PUB $JS.API.%s %s %d\r\n%s\r\n" % (subject.encode(), inbox, len(text), text))
    c.until(b"MSG " + inbox + b" ")
    size = int(c.until(b"\r\n").split()[-1])
    while len(c.data) < size + 2:
        c.data += c.s.recv(65536)
    answer, c.data = c.data[:size], c.data[size + 2:]
    return json.loads(answer)


def prepare(c, stream, subject):
    assert "error" not in api(c, f"STREAM.CREATE.{stream}", {"name": stream, "subjects": [subject]})
    consumer = {"durable_name": "c", "ack_policy": "explicit"}
    assert "error" not in api(c, f"CONSUMER.DURABLE.CREATE.{stream}.c",
                              {"stream_name": stream, "config": consumer})
    c.send(b"PUB %s %d\r\n%s\r\n" % (subject.encode(), len(EVIL), EVIL))
    sync(c)
    eventually(lambda: api(c, f"STREAM.INFO.{stream}")["state"]["messages"] == 1, what="the message")


def publish(c, subject, reply, body=b""):
    c.send(b"PUB %s %s %d\r\n%s\r\n" % (subject.encode(), reply.encode(), len(body), body))


PULL = "$JS.API.CONSUMER.MSG.NEXT.ORDERS.c"


def attacks(c):
    for goal in ("STREAM.PURGE.ORDERS", "STREAM.DELETE.ORDERS", "CONSUMER.DELETE.ORDERS.c"):
        reply = "$JS.API." + goal
        publish(c, "$JS.API.INFO", reply)                           # an answer
        publish(c, "orders.new", reply)                             # an acknowledgement of a publish
        publish(c, PULL, reply, b'{"expires":1000000}')             # a time-out
        publish(c, PULL, reply, b'{"no_wait":true,"batch":9}')      # nothing there
        publish(c, PULL, reply, b'{"expires":1,"idle_heartbeat":9}')  # a refusal
        publish(c, PULL, reply, b'{"expires":2000000,"idle_heartbeat":1000000}')
        publish(c, "$JS.ACK.ORDERS.c.1.1.1.1.0", reply)             # a confirmation
    publish(c, PULL, "$JS.API.STREAM.CREATE.EVIL")                  # a delivery of what was stored
    publish(c, "echo", "$JS.API.STREAM.DELETE.ORDERS")              # the right to answer
    publish(c, "$JS.API.STREAM.DELETE.ORDERS", "_INBOX.mallory.x")


def benign(c):
    """Behind all that: an answer, and a time-out."""
    assert "streams" in api(c, "INFO")
    publish(c, PULL, "_INBOX.mallory.end", b'{"batch":5,"expires":100000000}')
    c.until(b"MSG _INBOX.mallory.end")


def unharmed(admin):
    info = api(admin, "STREAM.INFO.ORDERS")
    assert info.get("state", {}).get("messages") == 1, info
    assert api(admin, "STREAM.NAMES")["streams"] == ["ORDERS"]
    consumer = api(admin, "CONSUMER.INFO.ORDERS.c")
    assert "error" not in consumer
    return consumer


def test_replies_do_not_run_the_api(tmp_path):
    s = Server(tmp_path, conf=CONF, jetstream=True).start()
    admin, mallory = login(s, "admin"), login(s, "mallory")
    prepare(admin, "ORDERS", "orders.new")
    mallory.send(b"SUB echo 2\r\n")
    attacks(mallory)
    benign(mallory)
    unharmed(admin)
    s.stop()


def test_nor_through_other_accounts(tmp_path):
    s = Server(tmp_path, conf=CONF, jetstream=True).start()
    admin, b, eve = login(s, "admin"), login(s, "b"), login(s, "eve")
    prepare(admin, "ORDERS", "orders.new")
    prepare(b, "OWN", "own")
    pull = "$JS.API.CONSUMER.MSG.NEXT.OWN.c"
    # What is pending in A shall stay so, whatever empty message is sent to A's acknowledgements.
    admin.send(b"PUB %s _INBOX.admin.m 0\r\n\r\n" % PULL.encode())
    admin.until(b"$JS.ACK.ORDERS.c.1.1.1.")
    for reply in ("a.api.STREAM.PURGE.ORDERS", "a.api.STREAM.DELETE.ORDERS",
                  "a.api.STREAM.CREATE.EVIL", "a.ack.ORDERS.c.1.1.1.1.0"):
        publish(eve, "$JS.API.INFO", reply)
        publish(eve, pull, reply, b'{"no_wait":true}')
        publish(eve, pull, reply, b'{"no_wait":true}')
        publish(eve, pull, reply, b'{"expires":1000000}')
    # Answers of a service in another account, to a reply of this one.
    admin.send(b"SUB svc 9\r\n")
    sync(admin)
    publish(eve, "ask", "$JS.API.STREAM.DELETE.OWN")
    publish(eve, "ask", "$JS.API.STREAM.PURGE.OWN")
    publish(eve, "ask", "_INBOX.eve.svc")
    reply = admin.until(b"\r\n\r\n").split(b"MSG svc 9 ")[-1].split(b" ")[0]
    assert reply.startswith(b"_R_.")
    admin.send(b"PUB %s 0\r\n\r\n" % reply)
    eve.until(b"_INBOX.eve.svc")
    assert "streams" in api(eve, "INFO")
    publish(eve, pull, "_INBOX.eve.end", b'{"batch":5,"expires":100000000}')
    eve.until(b"MSG _INBOX.eve.end")
    assert unharmed(admin)["num_ack_pending"] == 1
    assert api(b, "STREAM.INFO.OWN")["state"]["messages"] == 1
    s.stop()


def test_nor_from_other_nodes(tmp_path):
    c = Cluster(tmp_path, conf=CONF)
    c.start()
    admin = login(c[0], "admin")
    prepare(admin, "ORDERS", "orders.new")
    clients = [login(c[i], "mallory") for i in range(3)]
    for mallory in clients:
        mallory.send(b"SUB echo 2\r\n")
        attacks(mallory)
        benign(mallory)
    unharmed(admin)
    c.kill()
