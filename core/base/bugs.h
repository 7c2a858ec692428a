/* bugs: mistakes that were made before, here or elsewhere, kept so that they can be made again.
 *
 * Compiled with -DTRIREME_BUG=n, mistake n is in; otherwise none is, and the compiler drops the
 * code. tests/simulation/museum shows that the simulator finds each one. The numbers stay. */
#ifndef CORE_BASE_BUGS_H
#define CORE_BASE_BUGS_H

#ifndef TRIREME_BUG
#define TRIREME_BUG 0
#endif

#define BUG(n) (TRIREME_BUG == (n))

enum {
    BUG_COMMITS_OLD_TERMS = 1,      /* elusive; by counting: Raft §5.4.2 (c8687fc4d) */
    BUG_ACKS_BEFORE_DISK = 2,       /* a follower, as if it had synced (PR 6944, #7564) */
    BUG_VOTES_TWICE = 3,            /* in one term (bf8ebe7dd) */
    BUG_FORGETS_VOTE = 4,           /* elusive; at a restart (f4aca783c) */
    BUG_PUBLISHER_KEEPS_VIEW = 5,   /* of a leadership that has ended (PR 8057, #5205) */
    BUG_INSTALL_OFF_BY_ONE = 6,     /* applied behind a snapshot (aaf0373d2) */
    BUG_TRUNCATES_IN_MEMORY = 7,    /* a conflicting log, and leaves it on disk (#3870) */
    BUG_REJOINS_AT_ONCE = 8,        /* whoever has lost its disk (#7549, #7567) */
    BUG_COUNTS_UNSYNCED_SELF = 9,   /* the leader's own entries (#7564) */
    BUG_VOTES_FOR_SHORT_LOGS = 10,  /* election restriction left out: §5.4.1 (PR 5939) */
    BUG_IGNORES_PREVIOUS_TERM = 11, /* of an append: §5.3 */
    BUG_COMMITS_UNMATCHED = 12,     /* the leader's commit index taken beyond what matches */
    BUG_SNAPSHOT_WITHOUT_RECORDS = 13,
    BUG_SNAPSHOTS_MIXED = 14,       /* elusive; records of two attempts */
    BUG_SNAPSHOT_CUTS_ACKED = 15,   /* elusive; what follows an older one (PR 6459) */
    BUG_TRUNCATED_COUNTS = 16,      /* elusive; a suffix that was persisted and then replaced */
    BUG_PROVES_WITHOUT_QUORUM = 17, /* elusive; a leader that may have been replaced */
    BUG_PROOF_OF_ANOTHER_LIFE = 18,
    BUG_COUNTS_UNPROVEN_VOTES = 19,
    BUG_APPLIES_BEFORE_PERSIST = 20, /* elusive; a checkpoint ahead of the entries it stands on */
    BUG_COUNTS_LEARNERS = 21,        /* their votes and acknowledgements (efabcbf87, f618bca80) */
    BUG_MEMBERS_ON_COMMIT = 22,      /* instead of on append: disjoint majorities (12fff3a32) */
    BUG_FORGETS_MEMBERS = 23,        /* at a restart: back to those of the beginning (69aebe8de) */
    BUG_KEEPS_CUT_MEMBERS = 24, /* elusive; of a suffix that was truncated (1fae6111c, 2f60ea8fe) */
    BUG_CHANGES_BEFORE_TERM = 25,  /* elusive; nothing of the term committed yet (2015) */
    BUG_CHANGES_AT_ONCE = 26,      /* elusive; a second change while the first is not committed */
    BUG_READS_WITHOUT_ROUND = 27,  /* by a leader that may have been replaced: thesis §6.4 */
    BUG_READS_FROM_UNPROVEN = 28,  /* elusive; whoever has forgotten its vote confirms the leader */
    BUG_PROVES_WITH_LESS = 29,     /* elusive; than the winner of an election of all has */
    BUG_REMOVED_STAYS_SILENT = 30, /* elusive; though its log alone can win: thesis §4.2.2 */
    BUG_APPLIES_UNREADABLE = 31,   /* without the record that it would have needed (#8265) */
    BUG_STATE_CUTS_LOG = 32,       /* elusive; a stalled replica's, which it has acknowledged */
    BUG_STRANGER_PROVES_NOBODY = 33, /* elusive; a winner that has voted itself out */
    BUG_RESUMES_AFTER_APPEND = 35,   /* elusive; a snapshot, over records that have been replaced */
    BUG_REWRITES_WITH_LESS = 36,     /* than is left of a record */
    BUG_BREAKS_PROMISE = 37,         /* votes, though its leader has a lease: thesis §6.4.1 */
    BUG_FORGETS_PROMISE = 38, /* elusive; of an earlier life, given to a leader that has a lease */
    BUG_LEASE_OUTLIVES_TRANSFER = 39, /* whose election overrides the promises */
    BUG_PURGE_UNSEEN = 40,            /* one that moves the last sequence, by who publishes */
    BUG_LIMIT_NOT_CHECKED_AGAIN = 41, /* of consumers, where one is applied */
    BUG_SWITCH_GOES_BACK = 42,        /* a configuration that was checked against an older one */
    BUG_WAIT_WRAPS = 43,              /* one without end: the state cannot be read as it was */
    BUG_EXPIRES_BY_SEARCH = 44,       /* for a time, though a clock may have been set back */
    BUG_LEADS_UNPROVEN = 34 /* elusive; stays, though nobody is there who could be proven */
};

#endif
