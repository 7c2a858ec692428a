/* ports_file: tells tools which ports a server took: <dir>/<program>_<pid>.ports, one line of JSON.
 * Source: nats-server command-line reference §9. */
#ifndef CMD_PORTS_FILE_H
#define CMD_PORTS_FILE_H

struct ports {
    struct {
        const char *host;
        int port; /* 0: not listening */
    } clients, monitoring, cluster;
};

/* A failure is logged, and nothing else. */
void ports_file_write(const char *folder, const char *program, const struct ports *ports);
/* `folder` NULL: nothing to do. */
void ports_file_remove(const char *folder, const char *program);

#endif
