/* The walk-through with cnats: request and reply across nodes, a replicated stream with acks. */
#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
