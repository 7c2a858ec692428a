// What every client library has to be able to do, with nats.js. Servers: see ../run.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { connect, headers, nanos } from "@nats-io/transport-node";

const env = process.env;
const service = { user: "im_service", pass: "service" };
const text = (m) => new TextDecoder().decode(m.data);

async function until(check, what) {
  for (const deadline = Date.now() + 10000; Date.now() < deadline;) {
    if (await check()) return;
    await new Promise((r) => setTimeout(r, 20)); // poll interval, bounded by the deadline
  }
  throw new Error(`${what} did not come true`);
}

async function messaging() {
  const a = await connect({ servers: env.NATS_1, ...service });
  const b = await connect({ servers: env.NATS_2, ...service });
  const sub = a.subscribe("js.*");
  const got = [];
  (async () => { for await (const m of sub) got.push(m); })();
  const counts = [0, 0];
  for (const i of [0, 1]) {
    a.subscribe("js.queue.work", { queue: "workers", callback: (_, m) => { counts[i]++; m.respond("done"); } });
  }
  await a.flush();
  await until(async () => { b.publish("js.ping"); await b.flush(); return got.length > 0; }, "interest on the other node");
  const h = headers();
  h.append("Key", "one");
  h.append("Key", "two");
  b.publish("js.headers", "body", { headers: h });
  const big = new Uint8Array(1000000).fill(7);
  b.publish("js.big", big);
  await b.flush();
  await until(() => got.some((m) => m.subject === "js.big"), "the large payload");
  const withHeaders = got.find((m) => m.subject === "js.headers");
  assert.deepEqual(withHeaders.headers.values("Key"), ["one", "two"]);
  assert.equal(text(withHeaders), "body");
  assert.deepEqual(got.find((m) => m.subject === "js.big").data, big);
  for (let i = 0; i < 100; i++) {
    assert.equal(text(await b.request("js.queue.work", "x", { timeout: 5000 })), "done");
  }
  assert.equal(counts[0] + counts[1], 100);
  assert.ok(counts[0] > 10 && counts[1] > 10, `queue members took ${counts}`);
  await assert.rejects(b.request("nobody.js", "x", { timeout: 5000 }), /no responders/i);
  for (let i = 0; i < 1000; i++) b.publish("js.drain", "x");
  // A drain promises what the server has, and that is the other node: the last one has to be there.
  let last = false;
  a.subscribe("js.last", { callback: () => { last = true; } });
  await a.flush();
  b.publish("js.last");
  await until(() => last, "what was published last");
  await a.drain();
  assert.equal(got.filter((m) => m.subject === "js.drain").length, 1000);
  await b.close();
}

async function authorization() {
  await assert.rejects(connect({ servers: env.NATS_1, user: "im_service", pass: "wrong", reconnect: false }),
    /authorization violation/i);
  const nc = await connect({ servers: env.NATS_1, user: "im_readonly", pass: "readonly" });
  const refused = new Promise((resolve) => {
    (async () => { for await (const s of nc.status()) if (s.type === "error") resolve(String(s.error)); })();
  });
  nc.publish("forbidden", "x");
  assert.match(await refused, /Permissions Violation for Publish to "forbidden"/i);
  await nc.close();
}

async function encryption() {
  const ca = readFileSync(env.TLS_CA, "utf8");
  const plain = await connect({ servers: env.NATS_TLS, tls: { ca } });
  assert.ok(plain.info.tls_required);
  await plain.flush();
  await plain.close();
  await assert.rejects(connect({ servers: env.NATS_MTLS, tls: { ca }, reconnect: false, timeout: 5000 }));
  const mutual = await connect({ servers: env.NATS_MTLS, tls: { ca, certFile: env.TLS_CERT, keyFile: env.TLS_KEY } });
  const sub = mutual.subscribe("t", { max: 1 });
  mutual.publish("t", new Uint8Array(500000));
  for await (const m of sub) assert.equal(m.data.length, 500000);
  await mutual.close();
}

async function reconnection() {
  const nc = await connect({ servers: env.NATS_RESTART, maxReconnectAttempts: -1, reconnectTimeWait: 50 });
  const sub = nc.subscribe("again");
  await nc.flush();
  const back = new Promise((resolve) => {
    (async () => { for await (const s of nc.status()) if (s.type === "reconnect") resolve(); })();
  });
  process.kill(Number(readFileSync(env.NATS_RESTART_PID, "utf8")), "SIGKILL");
  await back;
  nc.publish("again", "x");
  for await (const m of sub) {
    assert.equal(text(m), "x");
    break;
  }
  await nc.close();
}

await messaging();
await authorization();
await encryption();
await reconnection();
console.log("nats.js: ok");
