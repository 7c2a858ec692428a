#include "send_signal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIDS_MAX 64

static int number_of(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } known[] = {{"stop", SIGKILL},   {"quit", SIGINT},   {"term", SIGTERM},
                 {"reopen", SIGUSR1}, {"reload", SIGHUP}, {"ldm", SIGUSR2}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].name, name) == 0) {
            return known[i].number;
        }
    }
    return 0;
}

/* Does this process run our program, by either of its names? */
static bool is_server(const char *pid)
{
    char path[64], name[64] = "";
    (void)snprintf(path, sizeof path, "/proc/%.20s/comm", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        return false;
    }
    bool read = fgets(name, sizeof name, f) != NULL;
    (void)fclose(f);
    name[strcspn(name, "\n")] = '\0';
    return read && (strcmp(name, "nats-server") == 0 || strcmp(name, "trireme") == 0);
}

/* Servers whose pid begins with `prefix`; never this process. */
static size_t find_servers(const char *prefix, pid_t pids[PIDS_MAX])
{
    size_t count = 0;
    DIR *proc = opendir("/proc");
    if (proc == NULL) {
        return 0;
    }
    struct dirent *entry;
    while ((entry = readdir(proc)) != NULL && count < PIDS_MAX) {
        long pid = isdigit((unsigned char)entry->d_name[0]) ? strtol(entry->d_name, NULL, 10) : 0;
        if (pid > 0 && pid != getpid() && strncmp(entry->d_name, prefix, strlen(prefix)) == 0 &&
            is_server(entry->d_name)) {
            pids[count++] = (pid_t)pid;
        }
    }
    (void)closedir(proc);
    return count;
}

static int deliver(const char *command, int number, pid_t pid)
{
    if (kill(pid, number) == 0) {
        return 0;
    }
    fprintf(stderr, "nats-server: \nsignal \"%s\" %d: %s\n", command, (int)pid,
            errno == ESRCH ? "no such process" : strerror(errno));
    return 1;
}

static int deliver_to_only(const char *command, int number)
{
    pid_t pids[PIDS_MAX];
    size_t count = find_servers("", pids);
    if (count == 0) {
        fprintf(stderr, "nats-server: no nats-server processes running\n");
        return 1;
    }
    if (count > 1) {
        fprintf(stderr, "nats-server: multiple nats-server processes running:\n");
        for (size_t i = 0; i < count; i++) {
            fprintf(stderr, "%d\n", (int)pids[i]);
        }
        return 1;
    }
    return deliver(command, number, pids[0]);
}

/* The whole content of the file of that name, or the text itself. */
static void read_target(const char *text, char target[64])
{
    FILE *f = fopen(text, "r");
    size_t n = 0;
    if (f != NULL) {
        n = fread(target, 1, 63, f);
        (void)fclose(f);
    } else {
        n = strnlen(text, 63);
        memcpy(target, text, n);
    }
    target[n] = '\0';
}

static int deliver_to(const char *command, int number, const char *text)
{
    char target[64];
    read_target(text, target);
    size_t len = strlen(target);
    if (len > 0 && target[len - 1] == '*') {
        pid_t pids[PIDS_MAX];
        target[len - 1] = '\0';
        size_t count = find_servers(target, pids);
        int failed = 0;
        for (size_t i = 0; i < count; i++) {
            failed |= deliver(command, number, pids[i]);
        }
        if (count == 0) {
            fprintf(stderr, "nats-server: no nats-server processes running\n");
        }
        return count == 0 ? 1 : failed;
    }
    char *rest;
    long pid = strtol(target, &rest, 10);
    if (!isdigit((unsigned char)target[0]) || *rest != '\0' || pid <= 0 || pid > INT32_MAX) {
        fprintf(stderr, "nats-server: invalid pid: %s\n", target);
        return 1;
    }
    return deliver(command, number, (pid_t)pid);
}

int send_signal(const char *text)
{
    char command[32];
    const char *equals = strchr(text, '=');
    if (equals != NULL && strchr(equals + 1, '=') != NULL) {
        fprintf(stderr, "nats-server: invalid signal parameters: [%s]\n", equals + 1);
        return 1;
    }
    size_t len = equals == NULL ? strlen(text) : (size_t)(equals - text);
    (void)snprintf(command, sizeof command, "%.*s", (int)(len < 31 ? len : 31), text);
    int number = number_of(command);
    if (number == 0) {
        fprintf(stderr, "nats-server: unknown signal \"%s\"\n", command);
        return 1;
    }
    return equals == NULL || equals[1] == '\0' ? deliver_to_only(command, number)
                                               : deliver_to(command, number, equals + 1);
}
