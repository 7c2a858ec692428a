// The walk-through with nats.go: users, request/reply and queue workers across nodes, a replicated stream.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func must(err error, what string) {
	if err != nil {
		log.Fatalf("%s: %v", what, err)
	}
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
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "MEM", Storage: jetstream.MemoryStorage})
	if err == nil || !strings.Contains(err.Error(), "not supported in this version yet") {
		log.Fatalf("memory storage: %v", err)
	}
	must(js.DeleteStream(ctx, "GO"), "delete stream")
	fmt.Println("nats.go: ok")
}
