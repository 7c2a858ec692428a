// The load generator: the same client library, input and counts for every server.
//
//	load pub|pair|js URL COUNT SIZE [REPLICAS]
//
// Prints messages per second, from the first send until the last message has arrived or been acknowledged.
package main

import (
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	urls := os.Args[2]
	count, _ := strconv.Atoi(os.Args[3])
	size, _ := strconv.Atoi(os.Args[4])
	payload := make([]byte, size)
	var options []nats.Option
	if ca := os.Getenv("TLS_CA"); ca != "" {
		options = append(options, nats.RootCAs(ca))
	}
	nc, err := nats.Connect(strings.Split(urls, ",")[0], options...)
	must(err)
	defer nc.Close()
	var start time.Time
	switch os.Args[1] {
	case "pub":
		start = time.Now()
		for i := 0; i < count; i++ {
			must(nc.Publish("bench", payload))
		}
		must(nc.FlushTimeout(time.Minute))
	case "pair":
		last := strings.Split(urls, ",")
		sc, err := nats.Connect(last[len(last)-1], options...)
		must(err)
		done := make(chan bool)
		var seen atomic.Int64
		sub, err := sc.Subscribe("bench", func(*nats.Msg) {
			if seen.Add(1) == int64(count) {
				close(done)
			}
		})
		must(err)
		must(sub.SetPendingLimits(-1, -1))
		must(sc.Flush())
		time.Sleep(200 * time.Millisecond) // interest reaches the other node before the clock starts
		start = time.Now()
		for i := 0; i < count; i++ {
			must(nc.Publish("bench", payload))
			// Servers have no back-pressure across a route: a subscriber that falls far behind is cut off.
			for i%1000 == 0 && int64(i)-seen.Load() > 100_000 {
				time.Sleep(100 * time.Microsecond)
			}
		}
		must(nc.FlushTimeout(time.Minute))
		<-done
	case "js":
		replicas, _ := strconv.Atoi(os.Args[5])
		js, err := nc.JetStream(nats.PublishAsyncMaxPending(4000))
		must(err)
		_, err = js.AddStream(&nats.StreamConfig{Name: "BENCH", Subjects: []string{"bench"}, Replicas: replicas})
		must(err)
		start = time.Now()
		for i := 0; i < count; i++ {
			_, err = js.PublishAsync("bench", payload)
			must(err)
		}
		select {
		case <-js.PublishAsyncComplete():
		case <-time.After(2 * time.Minute):
			log.Fatal("not all publishes were acknowledged")
		}
		elapsed := time.Since(start)
		info, err := js.StreamInfo("BENCH")
		must(err)
		if info.State.Msgs != uint64(count) {
			log.Fatalf("%d of %d messages stored", info.State.Msgs, count)
		}
		must(js.DeleteStream("BENCH"))
		start = time.Now().Add(-elapsed)
	case "idle":
		js, err := nc.JetStream()
		must(err)
		for i := 0; i < count; i++ {
			name := fmt.Sprintf("IDLE%d", i)
			_, err = js.AddStream(&nats.StreamConfig{Name: name, Subjects: []string{name}, Replicas: 3}, nats.MaxWait(20*time.Second))
			must(err)
			_, err = js.AddConsumer(name, &nats.ConsumerConfig{Durable: "c", AckPolicy: nats.AckExplicitPolicy}, nats.MaxWait(20*time.Second))
			must(err)
		}
		return
	}
	fmt.Printf("%.0f\n", float64(count)/time.Since(start).Seconds())
}
