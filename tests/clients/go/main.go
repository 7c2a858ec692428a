// The walk-through with nats.go: users, request/reply and queue workers across nodes, a replicated stream.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func must(err error, what string) {
	if err != nil {
		log.Fatalf("%s: %v", what, err)
	}
}

func until(check func() bool, what string) {
	for deadline := time.Now().Add(10 * time.Second); !check(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			log.Fatalf("%s did not come true", what)
		}
	}
}

// Headers, large payloads and drain, between two nodes.
func messaging(a, b *nats.Conn) {
	got := make(chan *nats.Msg, 5000)
	_, err := a.ChanSubscribe("gc.*", got)
	must(err, "subscribe")
	until(func() bool { must(b.Publish("gc.ping", nil), "publish"); must(b.Flush(), "flush"); return len(got) > 0 }, "interest")
	h := nats.NewMsg("gc.headers")
	h.Header.Add("Key", "one")
	h.Header.Add("Key", "two")
	must(b.PublishMsg(h), "publish headers")
	big := make([]byte, 1000000)
	for i := range big {
		big[i] = 7
	}
	must(b.Publish("gc.big", big), "publish large")
	for i := 0; i < 1000; i++ {
		must(b.Publish("gc.drain", nil), "publish")
	}
	// A drain promises what the server has, and that is the other node: the last one has to be there.
	last, err := a.SubscribeSync("gc.last")
	must(err, "subscribe")
	must(a.Flush(), "flush")
	must(b.Publish("gc.last", nil), "publish")
	_, err = last.NextMsg(10 * time.Second)
	must(err, "what was published last")
	drained := 0
	for deadline := time.After(10 * time.Second); drained < 1000; {
		select {
		case m := <-got:
			switch m.Subject {
			case "gc.headers":
				if fmt.Sprint(m.Header.Values("Key")) != "[one two]" {
					log.Fatalf("headers %v", m.Header)
				}
			case "gc.big":
				if len(m.Data) != len(big) || m.Data[999999] != 7 {
					log.Fatal("the large payload is damaged")
				}
			case "gc.drain":
				drained++
				if drained == 1 {
					must(a.Drain(), "drain") // what is under way still comes
				}
			}
		case <-deadline:
			log.Fatalf("%d of 1000 before the end", drained)
		}
	}
}

func encryption() {
	ca := nats.RootCAs(os.Getenv("TLS_CA"))
	nc, err := nats.Connect("tls://"+os.Getenv("NATS_TLS"), ca)
	must(err, "connect with TLS")
	must(nc.Flush(), "flush")
	nc.Close()
	if _, err = nats.Connect("tls://"+os.Getenv("NATS_MTLS"), ca); err == nil {
		log.Fatal("a client without a certificate was accepted")
	}
	nc, err = nats.Connect("tls://"+os.Getenv("NATS_MTLS"), ca, nats.ClientCert(os.Getenv("TLS_CERT"), os.Getenv("TLS_KEY")))
	must(err, "connect with a certificate")
	defer nc.Close()
	sub, err := nc.SubscribeSync("t")
	must(err, "subscribe")
	must(nc.Publish("t", make([]byte, 500000)), "publish")
	m, err := sub.NextMsg(5 * time.Second)
	must(err, "message over TLS")
	if len(m.Data) != 500000 {
		log.Fatalf("%d bytes over TLS", len(m.Data))
	}
}

func reconnection() {
	back := make(chan bool, 1)
	nc, err := nats.Connect(os.Getenv("NATS_RESTART"), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
		nats.ReconnectHandler(func(*nats.Conn) { back <- true }))
	must(err, "connect")
	defer nc.Close()
	sub, err := nc.SubscribeSync("again")
	must(err, "subscribe")
	must(nc.Flush(), "flush")
	text, err := os.ReadFile(os.Getenv("NATS_RESTART_PID"))
	must(err, "pid file")
	pid, err := strconv.Atoi(string(text))
	must(err, "pid")
	must(syscall.Kill(pid, syscall.SIGKILL), "kill")
	select {
	case <-back:
	case <-time.After(20 * time.Second):
		log.Fatal("did not reconnect")
	}
	must(nc.Publish("again", []byte("x")), "publish")
	_, err = sub.NextMsg(5 * time.Second)
	must(err, "message after reconnecting")
}

func main() {
	nodes := []string{os.Getenv("NATS_1"), os.Getenv("NATS_2"), os.Getenv("NATS_3")}
	service, err := nats.Connect("nats://im_service:service@" + nodes[0])
	must(err, "connect")
	defer service.Close()
	refused := make(chan error, 10)
	reader, err := nats.Connect("nats://im_readonly:readonly@"+nodes[1],
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	must(err, "connect read-only")
	defer reader.Close()
	must(reader.Publish("forbidden", []byte("x")), "publish")
	select {
	case err := <-refused:
		if !strings.Contains(strings.ToLower(err.Error()), "permissions violation for publish to \"forbidden\"") {
			log.Fatalf("unexpected error: %v", err)
		}
	case <-time.After(5 * time.Second):
		log.Fatal("the read-only user was allowed to publish")
	}
	if _, err := nats.Connect("nats://im_service:wrong@" + nodes[0]); err == nil {
		log.Fatal("a wrong password was accepted")
	}

	worker, err := nats.Connect("nats://im_service:service@" + nodes[2])
	must(err, "connect worker")
	defer worker.Close()
	for i := 0; i < 2; i++ {
		_, err = worker.QueueSubscribe("work", "workers", func(m *nats.Msg) { _ = m.Respond(append([]byte("did "), m.Data...)) })
		must(err, "queue subscribe")
	}
	must(worker.Flush(), "flush")
	var reply *nats.Msg
	for deadline := time.Now().Add(5 * time.Second); ; {
		reply, err = service.Request("work", []byte("it"), time.Second)
		if err == nil || time.Now().After(deadline) {
			break
		}
	}
	must(err, "request across nodes")
	if string(reply.Data) != "did it" {
		log.Fatalf("reply %q", reply.Data)
	}
	if _, err = service.Request("nobody.there", nil, time.Second); err != nats.ErrNoResponders {
		log.Fatalf("no responders: %v", err)
	}

	drains, err := nats.Connect("nats://im_service:service@" + nodes[1])
	must(err, "connect")
	messaging(drains, service)
	encryption()
	reconnection()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	js, err := jetstream.New(service)
	must(err, "jetstream")
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "GO", Subjects: []string{"go.>"}, MaxMsgs: 1000, MaxBytes: 1 << 20, Replicas: 3})
	must(err, "create stream")
	for i := 0; i < 100; i++ {
		ack, err := js.Publish(ctx, fmt.Sprintf("go.%d", i%3), []byte(fmt.Sprint(i)), jetstream.WithMsgID(fmt.Sprint(i)))
		must(err, "publish")
		if ack.Sequence != uint64(i+1) || ack.Duplicate {
			log.Fatalf("ack %+v", ack)
		}
	}
	if ack, err := js.Publish(ctx, "go.0", nil, jetstream.WithMsgID("5")); err != nil || !ack.Duplicate || ack.Sequence != 6 {
		log.Fatalf("duplicate: %+v %v", ack, err)
	}
	consumer, err := stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy})
	must(err, "create consumer")
	seen := 0
	for seen < 100 {
		batch, err := consumer.Fetch(25, jetstream.FetchMaxWait(5*time.Second))
		must(err, "fetch")
		for m := range batch.Messages() {
			if string(m.Data()) != fmt.Sprint(seen) {
				log.Fatalf("message %d is %q", seen, m.Data())
			}
			must(m.DoubleAck(ctx), "ack")
			seen++
		}
		must(batch.Error(), "batch")
	}
	info, err := consumer.Info(ctx)
	must(err, "info")
	if info.NumAckPending != 0 || info.NumPending != 0 || info.AckFloor.Stream != 100 {
		log.Fatalf("consumer info %+v", info)
	}
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "WORK", Retention: jetstream.WorkQueuePolicy})
	if err == nil || !strings.Contains(err.Error(), "not supported in this version yet") {
		log.Fatalf("work-queue retention: %v", err)
	}
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "MEM", Storage: jetstream.MemoryStorage})
	must(err, "memory storage")
	must(js.DeleteStream(ctx, "MEM"), "delete stream in memory")
	must(js.DeleteStream(ctx, "GO"), "delete stream")
	fmt.Println("nats.go: ok")
}
