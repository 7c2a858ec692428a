/* send_signal: --signal <command>[=<pid>], to a server that runs already.
 * Source: nats-server command-line reference §5. */
#ifndef CMD_SEND_SIGNAL_H
#define CMD_SEND_SIGNAL_H

/* `text`: stop, quit, term, reopen, reload or ldm; behind "=" a pid, a file that holds one, or the
 * first digits of one and "*". Without: the one nats-server or trireme process there is. Prints
 * what went wrong; returns the exit code. */
int send_signal(const char *text);

#endif
