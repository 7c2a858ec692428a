/* The walk-through with cnats: request and reply across nodes, queue workers, headers, large
 * payloads, drain, refusals, TLS, reconnecting, a replicated stream with acks. */
#include <nats/nats.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void must(natsStatus s, const char *what)
{
    if (s != NATS_OK) {
        fprintf(stderr, "%s: %s\n", what, natsStatus_GetText(s));
        nats_PrintLastErrorStack(stderr);
        exit(1);
    }
}

static natsConnection *connect_to(const char *node)
{
    char url[256];
    natsConnection *nc = NULL;
    snprintf(url, sizeof url, "nats://im_service:service@%s", getenv(node));
    must(natsConnection_ConnectTo(&nc, url), "connect");
    return nc;
}

static void answer(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure)
{
    (void)sub;
    (void)closure;
    natsConnection_PublishString(nc, natsMsg_GetReply(msg), "pong");
    natsMsg_Destroy(msg);
}

static void need(bool true_, const char *what)
{
    if (!true_) {
        fprintf(stderr, "%s\n", what);
        exit(1);
    }
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static natsOptions *options_for(const char *scheme, const char *variable)
{
    char url[256];
    natsOptions *o = NULL;
    must(natsOptions_Create(&o), "options");
    snprintf(url, sizeof url, "%s%s", scheme, getenv(variable));
    must(natsOptions_SetURL(o, url), "url");
    return o;
}

static atomic_int worked;

static void work(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure)
{
    (void)sub, (void)closure;
    atomic_fetch_add(&worked, 1);
    must(natsConnection_PublishString(nc, natsMsg_GetReply(msg), "did it"), "answer");
    natsMsg_Destroy(msg);
}

/* Of two workers one answers; nobody answers where nobody is. */
static void queue_workers(natsConnection *here, natsConnection *there)
{
    natsSubscription *subs[2];
    natsMsg *reply = NULL;
    natsStatus s = NATS_ERR;
    for (int i = 0; i < 2; i++) {
        must(natsConnection_QueueSubscribe(&subs[i], there, "cw.work", "workers", work, NULL),
             "queue");
    }
    must(natsConnection_Flush(there), "flush");
    for (int i = 0; i < 50 && s != NATS_OK; i++) {
        s = natsConnection_RequestString(&reply, here, "cw.work", "it", 1000);
    }
    must(s, "request to the workers");
    need(strcmp(natsMsg_GetData(reply), "did it") == 0 && atomic_load(&worked) == 1, "one answer");
    natsMsg_Destroy(reply);
    need(natsConnection_RequestString(&reply, here, "nobody.there", "", 1000) == NATS_NO_RESPONDERS,
         "no responders");
    natsSubscription_Destroy(subs[0]);
    natsSubscription_Destroy(subs[1]);
}

static void messaging(natsConnection *here, natsConnection *there)
{
    natsSubscription *sub;
    natsMsg *msg = NULL;
    const char **values = NULL;
    int count = 0, drained = 0;
    must(natsConnection_SubscribeSync(&sub, there, "cm.*"), "subscribe");
    must(natsConnection_Flush(there), "flush");
    for (int i = 0; i < 100 && msg == NULL; i++) {
        must(natsConnection_PublishString(here, "cm.ping", ""), "publish");
        (void)natsSubscription_NextMsg(&msg, sub, 100);
    }
    need(msg != NULL, "interest crosses");
    natsMsg_Destroy(msg);
    must(natsMsg_Create(&msg, "cm.headers", NULL, "", 0), "message");
    must(natsMsgHeader_Add(msg, "Key", "one"), "header");
    must(natsMsgHeader_Add(msg, "Key", "two"), "header");
    must(natsConnection_PublishMsg(here, msg), "publish");
    natsMsg_Destroy(msg);
    char *big = malloc(1000000);
    memset(big, 7, 1000000);
    must(natsConnection_Publish(here, "cm.big", big, 1000000), "publish");
    free(big);
    for (int i = 0; i < 1000; i++) {
        must(natsConnection_PublishString(here, "cm.drain", ""), "publish");
    }
    /* A drain promises what the server has, and that is the other node: the last one has to be
     * there. */
    natsSubscription *last;
    must(natsConnection_SubscribeSync(&last, there, "cm.last"), "subscribe");
    must(natsConnection_Flush(there), "flush");
    must(natsConnection_PublishString(here, "cm.last", ""), "publish");
    must(natsSubscription_NextMsg(&msg, last, 10000), "what was published last");
    natsMsg_Destroy(msg);
    natsSubscription_Destroy(last);
    while (drained < 1000) {
        must(natsSubscription_NextMsg(&msg, sub, 10000), "what was published before the end");
        const char *subject = natsMsg_GetSubject(msg);
        if (strcmp(subject, "cm.headers") == 0) {
            must(natsMsgHeader_Values(msg, "Key", &values, &count), "values");
            need(count == 2 && strcmp(values[1], "two") == 0, "two values of a header");
            free((void *)values);
        } else if (strcmp(subject, "cm.big") == 0) {
            need(natsMsg_GetDataLength(msg) == 1000000 && natsMsg_GetData(msg)[999999] == 7,
                 "large");
        } else if (strcmp(subject, "cm.drain") == 0 && ++drained == 1) {
            must(natsSubscription_Drain(sub), "drain"); /* what is under way still comes */
        }
        natsMsg_Destroy(msg);
    }
    natsSubscription_Destroy(sub);
}

static void on_error(natsConnection *nc, natsSubscription *sub, natsStatus status, void *closure)
{
    (void)sub, (void)closure;
    const char *text = NULL;
    natsConnection_GetLastError(nc, &text);
    atomic_int *refused = closure;
    if (status == NATS_NOT_PERMITTED || (text != NULL && strstr(text, "ermissions") != NULL)) {
        atomic_store(refused, 1);
    }
}

static void refusals(void)
{
    static atomic_int refused;
    natsConnection *nc = NULL;
    natsOptions *o = options_for("nats://im_service:wrong@", "NATS_1");
    need(natsConnection_Connect(&nc, o) == NATS_CONNECTION_AUTH_FAILED, "a wrong password");
    natsOptions_Destroy(o);
    o = options_for("nats://im_readonly:readonly@", "NATS_2");
    must(natsOptions_SetErrorHandler(o, on_error, &refused), "handler");
    must(natsConnection_Connect(&nc, o), "connect");
    must(natsConnection_PublishString(nc, "forbidden", "x"), "publish");
    must(natsConnection_Flush(nc), "flush");
    for (int i = 0; i < 500 && atomic_load(&refused) == 0; i++) {
        pause_ms(10);
    }
    need(atomic_load(&refused) == 1, "the read-only user is told that it may not publish");
    natsConnection_Destroy(nc);
    natsOptions_Destroy(o);
}

static natsOptions *tls_options(const char *variable)
{
    natsOptions *o = options_for("tls://", variable);
    must(natsOptions_LoadCATrustedCertificates(o, getenv("TLS_CA")), "ca");
    must(natsOptions_SetSecure(o, true), "secure");
    return o;
}

static void encryption(void)
{
    natsConnection *nc = NULL;
    natsSubscription *sub;
    natsMsg *msg;
    natsOptions *o = tls_options("NATS_TLS");
    must(natsConnection_Connect(&nc, o), "connect with TLS");
    must(natsConnection_Flush(nc), "flush");
    natsConnection_Destroy(nc);
    natsOptions_Destroy(o);
    o = tls_options("NATS_MTLS");
    nc = NULL;
    need(natsConnection_Connect(&nc, o) != NATS_OK, "a client without a certificate");
    must(natsOptions_LoadCertificatesChain(o, getenv("TLS_CERT"), getenv("TLS_KEY")),
         "certificate");
    must(natsConnection_Connect(&nc, o), "connect with a certificate");
    must(natsConnection_SubscribeSync(&sub, nc, "t"), "subscribe");
    char *big = calloc(1, 500000);
    must(natsConnection_Publish(nc, "t", big, 500000), "publish");
    free(big);
    must(natsSubscription_NextMsg(&msg, sub, 5000), "a message over TLS");
    need(natsMsg_GetDataLength(msg) == 500000, "all of it");
    natsMsg_Destroy(msg);
    natsSubscription_Destroy(sub);
    natsConnection_Destroy(nc);
    natsOptions_Destroy(o);
}

static void on_back(natsConnection *nc, void *closure)
{
    (void)nc;
    atomic_store((atomic_int *)closure, 1);
}

static void reconnection(void)
{
    static atomic_int back;
    natsConnection *nc = NULL;
    natsSubscription *sub;
    natsMsg *msg;
    natsOptions *o = options_for("nats://", "NATS_RESTART");
    must(natsOptions_SetMaxReconnect(o, -1), "reconnects");
    must(natsOptions_SetReconnectWait(o, 50), "wait");
    must(natsOptions_SetReconnectedCB(o, on_back, &back), "callback");
    must(natsConnection_Connect(&nc, o), "connect");
    must(natsConnection_SubscribeSync(&sub, nc, "again"), "subscribe");
    must(natsConnection_Flush(nc), "flush");
    FILE *f = fopen(getenv("NATS_RESTART_PID"), "r");
    int pid = 0;
    need(f != NULL && fscanf(f, "%d", &pid) == 1, "pid file");
    fclose(f);
    need(kill(pid, SIGKILL) == 0, "kill");
    for (int i = 0; i < 2000 && atomic_load(&back) == 0; i++) {
        pause_ms(10);
    }
    need(atomic_load(&back) == 1, "it reconnects");
    must(natsConnection_PublishString(nc, "again", "x"), "publish");
    must(natsSubscription_NextMsg(&msg, sub, 5000), "a message after reconnecting");
    natsMsg_Destroy(msg);
    natsSubscription_Destroy(sub);
    natsConnection_Destroy(nc);
    natsOptions_Destroy(o);
}

int main(void)
{
    natsConnection *one = connect_to("NATS_1");
    natsConnection *two = connect_to("NATS_2");
    natsSubscription *sub = NULL;
    natsMsg *reply = NULL;
    natsStatus s = NATS_ERR;
    must(natsConnection_Subscribe(&sub, two, "ping", answer, NULL), "subscribe");
    must(natsConnection_Flush(two), "flush");
    for (int i = 0; i < 50 && s != NATS_OK; i++) {
        s = natsConnection_RequestString(&reply, one, "ping", "hi", 1000);
    }
    must(s, "request across nodes");
    if (strcmp(natsMsg_GetData(reply), "pong") != 0) {
        return 1;
    }
    natsMsg_Destroy(reply);

    queue_workers(one, two);
    messaging(one, two);
    refusals();
    encryption();
    reconnection();

    jsCtx *js = NULL;
    jsStreamConfig config;
    const char *subjects[] = {"c.>"};
    must(natsConnection_JetStream(&js, one, NULL), "jetstream");
    jsStreamConfig_Init(&config);
    config.Name = "CNATS";
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.Replicas = 3;
    must(js_AddStream(NULL, js, &config, NULL, NULL), "add stream");
    for (uint64_t i = 1; i <= 50; i++) {
        jsPubAck *ack = NULL;
        char body[32];
        snprintf(body, sizeof body, "%llu", (unsigned long long)i);
        must(js_Publish(&ack, js, "c.x", body, (int)strlen(body), NULL, NULL), "publish");
        if (ack->Sequence != i) {
            fprintf(stderr, "sequence %llu\n", (unsigned long long)ack->Sequence);
            return 1;
        }
        jsPubAck_Destroy(ack);
    }
    natsSubscription *pull = NULL;
    must(js_PullSubscribe(&pull, js, "c.>", "worker", NULL, NULL, NULL), "pull subscribe");
    for (int seen = 0; seen < 50;) {
        natsMsgList list = {0};
        must(natsSubscription_Fetch(&list, pull, 20, 5000, NULL), "fetch");
        for (int i = 0; i < list.Count; i++, seen++) {
            if (atoi(natsMsg_GetData(list.Msgs[i])) != seen + 1) {
                return 1;
            }
            must(natsMsg_AckSync(list.Msgs[i], NULL, NULL), "ack");
        }
        natsMsgList_Destroy(&list);
    }
    must(js_DeleteStream(js, "CNATS", NULL, NULL), "delete stream");
    natsSubscription_Destroy(pull);
    natsSubscription_Destroy(sub);
    jsCtx_Destroy(js);
    natsConnection_Destroy(one);
    natsConnection_Destroy(two);
    nats_Close();
    puts("cnats: ok");
    return 0;
}
