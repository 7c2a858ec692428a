// What every client library has to be able to do, with jnats. Servers: see ../run.
import io.nats.client.*;
import io.nats.client.api.*;
import io.nats.client.impl.*;
import java.io.FileInputStream;
import java.nio.file.*;
import java.security.KeyStore;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import javax.net.ssl.*;

public class Check {
    static final Duration WAIT = Duration.ofSeconds(5);

    static void check(boolean ok, String what) {
        if (!ok) throw new AssertionError(what);
    }

    static void until(Callable<Boolean> condition, String what) throws Exception {
        long deadline = System.nanoTime() + 10_000_000_000L;
        while (!condition.call()) {
            check(System.nanoTime() < deadline, what + " did not come true");
            Thread.sleep(20); // poll interval, bounded by the deadline
        }
    }

    static Options.Builder service(String url) {
        return new Options.Builder().server("nats://" + System.getenv(url)).userInfo("im_service", "service").reportNoResponders();
    }

    static void messaging() throws Exception {
        try (Connection a = Nats.connect(service("NATS_1").build()); Connection b = Nats.connect(service("NATS_2").build())) {
            List<Message> got = Collections.synchronizedList(new ArrayList<>());
            Dispatcher d = a.createDispatcher(got::add);
            d.subscribe("jv.*");
            AtomicInteger[] counts = {new AtomicInteger(), new AtomicInteger()};
            for (AtomicInteger count : counts) {
                a.createDispatcher(m -> { count.incrementAndGet(); a.publish(m.getReplyTo(), "done".getBytes()); })
                    .subscribe("jv.queue.work", "workers");
            }
            a.flush(WAIT);
            until(() -> { b.publish("jv.ping", null); b.flush(WAIT); return !got.isEmpty(); }, "interest on the other node");
            Headers h = new Headers().add("Key", "one", "two");
            b.publish(NatsMessage.builder().subject("jv.headers").headers(h).data("body").build());
            byte[] big = new byte[1000000];
            Arrays.fill(big, (byte) 7);
            b.publish("jv.big", big);
            b.flush(WAIT);
            until(() -> got.stream().anyMatch(m -> m.getSubject().equals("jv.big")), "the large payload");
            Message headed = got.stream().filter(m -> m.getSubject().equals("jv.headers")).findFirst().get();
            check(headed.getHeaders().get("Key").equals(List.of("one", "two")), "headers " + headed.getHeaders());
            Message large = got.stream().filter(m -> m.getSubject().equals("jv.big")).findFirst().get();
            check(Arrays.equals(large.getData(), big), "the large payload");
            for (int i = 0; i < 100; i++) {
                check(new String(b.request("jv.queue.work", null, WAIT).getData()).equals("done"), "request");
            }
            check(counts[0].get() + counts[1].get() == 100 && counts[0].get() > 10 && counts[1].get() > 10,
                "queue members took " + Arrays.toString(counts));
            try {
                b.requestWithTimeout("nobody.jv", null, WAIT).get();
                check(false, "no responders");
            } catch (ExecutionException e) {
                check(e.getCause() instanceof JetStreamStatusException s && s.getStatus().getCode() == 503, "503: " + e);
            }
            for (int i = 0; i < 1000; i++) b.publish("jv.drain", null);
            // A drain promises what the server has, and that is the other node: the last one has to be there.
            Subscription last = a.subscribe("jv.last");
            a.flush(WAIT);
            b.publish("jv.last", null);
            check(last.nextMessage(WAIT) != null, "what was published last");
            check(a.drain(WAIT).get(), "drain");
            check(got.stream().filter(m -> m.getSubject().equals("jv.drain")).count() == 1000, "all before drained");
        }
    }

    static void authorization() throws Exception {
        try {
            Nats.connect(new Options.Builder().server("nats://" + System.getenv("NATS_1"))
                .userInfo("im_service", "wrong").noReconnect().build());
            check(false, "a wrong password was accepted");
        } catch (AuthenticationException expected) {
            // refused
        }
        BlockingQueue<String> errors = new LinkedBlockingQueue<>();
        ErrorListener listener = new ErrorListener() {
            public void errorOccurred(Connection c, String error) { errors.add(error); }
        };
        try (Connection c = Nats.connect(new Options.Builder().server("nats://" + System.getenv("NATS_1"))
                .userInfo("im_readonly", "readonly").errorListener(listener).build())) {
            c.publish("forbidden", null);
            String error = errors.poll(5, TimeUnit.SECONDS);
            check(error != null && error.toLowerCase().contains("permissions violation for publish to \"forbidden\""),
                "error " + error);
        }
    }

    static SSLContext context(boolean withIdentity) throws Exception {
        char[] password = "password".toCharArray();
        KeyStore trusted = KeyStore.getInstance("PKCS12");
        trusted.load(null, null);
        try (FileInputStream in = new FileInputStream(System.getenv("TLS_CA"))) {
            trusted.setCertificateEntry("ca", java.security.cert.CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);
        KeyManager[] keys = null;
        if (withIdentity) {
            KeyStore own = KeyStore.getInstance("PKCS12");
            try (FileInputStream in = new FileInputStream(System.getenv("TLS_P12"))) {
                own.load(in, password);
            }
            KeyManagerFactory factory = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
            factory.init(own, password);
            keys = factory.getKeyManagers();
        }
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys, trust.getTrustManagers(), null);
        return context;
    }

    static void encryption() throws Exception {
        try (Connection c = Nats.connect(new Options.Builder().server("tls://" + System.getenv("NATS_TLS"))
                .sslContext(context(false)).build())) {
            c.flush(WAIT);
        }
        try {
            Nats.connect(new Options.Builder().server("tls://" + System.getenv("NATS_MTLS"))
                .sslContext(context(false)).noReconnect().build());
            check(false, "a client without a certificate was accepted");
        } catch (java.io.IOException expected) {
            // refused
        }
        try (Connection c = Nats.connect(new Options.Builder().server("tls://" + System.getenv("NATS_MTLS"))
                .sslContext(context(true)).build())) {
            Subscription s = c.subscribe("t");
            c.publish("t", new byte[500000]);
            check(s.nextMessage(WAIT).getData().length == 500000, "payload over TLS");
        }
    }

    static void reconnection() throws Exception {
        CountDownLatch back = new CountDownLatch(1);
        try (Connection c = Nats.connect(new Options.Builder().server("nats://" + System.getenv("NATS_RESTART"))
                .maxReconnects(-1).reconnectWait(Duration.ofMillis(50))
                .connectionListener((x, e) -> { if (e == ConnectionListener.Events.RESUBSCRIBED) back.countDown(); }).build())) {
            Subscription s = c.subscribe("again");
            c.flush(WAIT);
            long pid = Long.parseLong(Files.readString(Path.of(System.getenv("NATS_RESTART_PID"))).trim());
            ProcessHandle.of(pid).get().destroyForcibly();
            check(back.await(20, TimeUnit.SECONDS), "reconnected");
            c.publish("again", "x".getBytes());
            check(new String(s.nextMessage(WAIT).getData()).equals("x"), "message after reconnecting");
        }
    }

    public static void main(String[] args) throws Exception {
        messaging();
        authorization();
        encryption();
        reconnection();
        System.out.println("jnats: ok");
        System.exit(0);
    }
}
