#include "core/auth/permissions.h"

#include "core/subject/subject.h"

static bool any_subject(const struct permission_rules *rules, struct bytes subject)
{
    for (uint32_t i = 0; i < rules->count; i++) {
        if (subject_matches(bytes_of(rules->rules[i].subject), subject)) {
            return true;
        }
    }
    return false;
}

bool permissions_publish(const struct permissions *p, struct bytes subject)
{
    if (p == NULL) {
        return true;
    }
    if (any_subject(&p->publish_deny, subject)) {
        return false;
    }
    return (!p->publish_allow_set && !p->responses_set) || any_subject(&p->publish_allow, subject);
}

bool permissions_subscribe(const struct permissions *p, struct bytes subject, struct bytes queue)
{
    if (!permissions_deliver(p, subject, queue)) { /* the same denials hold */
        return false;
    }
    if (p == NULL || !p->subscribe_allow_set) {
        return true;
    }
    bool plain = false;
    bool queued_rule = false;
    bool queued = false;
    const struct permission_rules *allow = &p->subscribe_allow;
    for (uint32_t i = 0; i < allow->count; i++) {
        const struct permission_rule *rule = &allow->rules[i];
        if (!subject_matches(bytes_of(rule->subject), subject)) {
            continue;
        }
        if (rule->queue == NULL) {
            plain = true;
        } else if (queue.ptr != NULL) {
            queued_rule = true;
            queued = queued || subject_matches(bytes_of(rule->queue), queue);
        }
    }
    return queued_rule ? queued : plain;
}

bool permissions_deliver(const struct permissions *p, struct bytes subject, struct bytes queue)
{
    if (p == NULL) {
        return true;
    }
    const struct permission_rules *deny = &p->subscribe_deny;
    for (uint32_t i = 0; i < deny->count; i++) {
        const struct permission_rule *rule = &deny->rules[i];
        bool names_us = rule->queue == NULL ||
                        (queue.ptr != NULL && subject_matches(bytes_of(rule->queue), queue));
        if (names_us && subject_matches(bytes_of(rule->subject), subject)) {
            return false;
        }
    }
    return true;
}

bool permissions_filter(const struct permissions *p)
{
    return p != NULL && p->subscribe_deny.count > 0;
}

bool permissions_responses(const struct permissions *p, int64_t *max, int64_t *expires_ns)
{
    if (p == NULL || !p->responses_set) {
        return false;
    }
    *max = p->responses_max;
    *expires_ns = p->responses_expires_ns;
    return true;
}
