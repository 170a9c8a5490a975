/* Intake and publication: workers push deltas, two primaries judge them and publish frames.

   docs/model/README.md explains the bounds, the abstractions and the properties, and names the functions that do each
   step in the code. A step is what happens between two moments at which somebody else can act: to read the refs and to
   judge what they show is one step, because commits never change; to move the refs is another.

   Bounds, properties and mutants are macros, which `make model` sets. */

/* --- Bounds ------------------------------------------------------------------------------------------------------- */

#ifndef WORKERS
#define WORKERS 2   /* 1 or 2: worker w pushes delta w */
#endif
#ifndef FRAMES
#define FRAMES 2    /* frames that may close at any moment; further ones only when all workers are done */
#endif
#ifndef REPEATS
#define REPEATS 1   /* pushes of worker 0 that land after its first, whose answer is lost */
#endif
#ifndef BASES
#define BASES 0     /* 1: lanes may begin on any state of the shared branch, and not only with an orphan commit */
#endif
#ifndef EARLY
#define EARLY 2     /* the frame of delta 1 */
#endif
#ifndef CRASHES
#define CRASHES 0   /* kills of primaries */
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 0  /* pushes of primaries whose answer does not come, and that the server may apply later or never */
#endif
#ifndef REWINDS
#define REWINDS 0   /* forced pushes that move the shared branch back */
#endif
#ifndef EDITS
#define EDITS 0     /* 0 or 1: pushes to the shared branch that edit canonical files, and bring a delta as well */
#endif
#ifndef REMOVALS
#define REMOVALS 0  /* merged lanes that primaries remove */
#endif
#ifndef SLOW
#define SLOW 0      /* 1: a close may be slow; if it loses a race, it publishes what it has merged */
#endif
#ifndef TORN
#define TORN 0      /* 1: a look may read one ref before others move, and the others after */
#endif
#ifndef SPLIT
#define SPLIT 0     /* 1: the server cannot move two refs together */
#endif
#ifndef CHECK
#define CHECK 0     /* 1: the server-side check judges pushes */
#endif
#ifndef DISTANT
#define DISTANT 2   /* the primaries that publish by push, as bits; the others work on the repository in place */
#endif
#ifndef SIZE
#define SIZE 14     /* commits that refs ever name; at most 14 */
#endif

/* A rewind may take half a publication back, so that it has never been: it counts once the published ref follows. */
#define SETTLES (SPLIT && REWINDS)

#define PRIMARIES 2
#define NONE 15
#define EDITED 14   /* canonical files that nobody published */

/* Delta 0 is for frame 1. Delta 1 is early. The delta that comes with an edit cannot be read. */
#define PUSHES(w) ((w) == 0 -> 1 + REPEATS : 1)
#define TARGET(d) ((d) == 1 -> EARLY : 1)
#define BAD(d) ((d) >= WORKERS)

/* --- Properties: one in each run ---------------------------------------------------------------------------------- */

#ifdef P_ALL
#define P_ACKNOWLEDGED
#define P_ONCE
#define P_CHAIN
#define P_JUDGED
#define P_RESTORE
#endif
#ifdef P_ACKNOWLEDGED
#define acknowledged_is_accounted_for(holds) assert(holds)
#else
#define acknowledged_is_accounted_for(holds) skip
#endif
#ifdef P_ONCE
#define counts_once(holds) assert(holds)
#else
#define counts_once(holds) skip
#endif
#ifdef P_CHAIN
#define chain_has_no_fork(holds) assert(holds)
#else
#define chain_has_no_fork(holds) skip
#endif
#ifdef P_JUDGED
#define nothing_is_hidden(holds) assert(holds)
#else
#define nothing_is_hidden(holds) skip
#endif
#ifdef P_RESTORE
#define restore_changes_nothing_else(holds) assert(holds)
#else
#define restore_changes_nothing_else(holds) skip
#endif
#ifdef MUTANT
#define bound_suffices(holds) skip
#else
#define bound_suffices(holds) assert(holds)
#endif

/* --- The repository ----------------------------------------------------------------------------------------------- */

#define BIT(x) (1 << (x))
#define HAS(set, x) (((set) >> (x)) & 1)

/* Commits, of which only those are kept here that a ref has named. Sets are bits. */
byte commits = 1;               /* how many there are; commit 0 opened the first frame */
short work;                     /* the commits of workers: each brings one version of one delta */
short reach[SIZE];              /* the commit itself and its ancestors */
byte delta[SIZE];               /* of a worker's commit: its delta */
byte shows[SIZE];               /* the snapshot commit whose canonical files its tree has, or EDITED */
bit others[SIZE];               /* whether its tree has a file of others, which is not the primaries' to change */
byte frame[SIZE];               /* of a snapshot commit: the frame that it closed, 0 for commit 0; of others NONE */
byte previous[SIZE];            /* its Dreamcatcher-Previous */
short ledger[SIZE];             /* the versions that its ledger names */
byte merged[SIZE];              /* the deltas that its snapshot has */
byte waiting[SIZE];             /* the early deltas that its folder of ledgers has */
#if SETTLES
byte adds[SIZE];                /* the deltas that its frame merges */
#endif
#ifdef M_NEAREST
byte nearest[SIZE];             /* the snapshot commit among its ancestors at the least distance */
byte distance[SIZE];
#endif

/* Refs. */
byte main;
byte published;
byte lane[WORKERS];

/* A push of a primary that the server has received and not answered. */
bit flying;
byte fly_head, fly_published, fly_base, fly_only;
short fly_tips;

/* --- What a primary remembers ------------------------------------------------------------------------------------- */

byte seen[PRIMARIES] = NONE;    /* the last publication that it knows of; a clone keeps it when the process ends */
#if REWINDS
byte last_main[PRIMARIES] = NONE;   /* the head of `main` at its last look */
short kept[PRIMARIES];          /* heads that `main` no longer holds and no publication reaches */
#define KEPT(p) kept[p]
#else
#define KEPT(p) 0
#endif

/* --- What happened, for the properties alone ---------------------------------------------------------------------- */

byte tip;                       /* the last publication */
short named;                    /* the versions that published ledgers name */
byte counted, quarantined;      /* the deltas that published ledgers merge, and those that they quarantine */
short destroyed;                /* the versions that others removed before any primary that still runs had seen them */
byte busy = WORKERS + EDITS;    /* the workers that are not done */
byte crashes = CRASHES, timeouts = TIMEOUTS, removals = REMOVALS;

/* Used within one step, and no part of a state. */
hidden byte c, e, i, k, due, ahead, bad;
hidden short new, all;

#if WORKERS == 1
#define LANES (lane[0] == NONE -> 0 : reach[lane[0]])
#else
#define LANES ((lane[0] == NONE -> 0 : reach[lane[0]]) | (lane[1] == NONE -> 0 : reach[lane[1]]))
#endif

/* What no publication reaches yet, as far as primary p could know. */
#define LEFT(p) (work & (reach[main] | LANES | KEPT(p)) & ~reach[tip])

/* A commit that a ref is about to name: c. */
inline add(ancestors, canonical, other) {
    bound_suffices(commits < SIZE);
    c = commits;
    commits++;
    reach[c] = BIT(c) | (ancestors);
    shows[c] = canonical;
    others[c] = other;
    frame[c] = NONE
}

#ifdef MUTANT
#define ROOM (commits < SIZE)   /* a mutant may need more than the bound; what counts is what it did before */
#else
#define ROOM true
#endif

#ifdef M_NEAREST
inline measure(parent) {        /* one more parent of c: which snapshot commit is the nearest */
    if
    :: frame[parent] != NONE && distance[c] > 1 -> nearest[c] = parent; distance[c] = 1
    :: frame[parent] == NONE && distance[c] > distance[parent] + 1 ->
        nearest[c] = nearest[parent]; distance[c] = distance[parent] + 1
    :: else
    fi
}
#define MEASURE(parent) measure(parent)
#define UNMEASURED distance[c] = 99
#else
#define MEASURE(parent) skip
#define UNMEASURED skip
#endif

/* --- Workers: plain git ------------------------------------------------------------------------------------------- */

/* A commit with a version of delta d, which the server has just let a ref name. */
inline bring(d, ancestors, canonical, other) {
    add(ancestors, canonical, other);
    delta[c] = d;
    work = work | BIT(c);
    UNMEASURED
}

/* Each push that lands is accounted for, whether or not its answer arrives; after a lost answer the worker pushes the
   same delta again, in either way, as another commit. */
proctype Worker(byte w) {
    byte landed = 0;

    do
    /* Step "push to a lane": the server's compare-and-swap, and nobody else pushes to this lane. */
    :: d_step { landed < PUSHES(w) && lane[w] != NONE && ROOM ->        /* on top of its own lane */
        bring(w, reach[lane[w]], shows[lane[w]], others[lane[w]]); MEASURE(lane[w]);
        lane[w] = c; landed++ }
    :: d_step { landed < PUSHES(w) && lane[w] == NONE && ROOM ->        /* an orphan */
        bring(w, 0, EDITED, 0);
        lane[w] = c; landed++ }
#if BASES
    :: d_step { landed < PUSHES(w) && lane[w] == NONE && ROOM ->        /* on top of `main` */
        bring(w, reach[main], shows[main], others[main]); MEASURE(main);
        lane[w] = c; landed++ }
    :: d_step { landed < PUSHES(w) && lane[w] == NONE && main != 0 && ROOM ->   /* on an old state of `main` */
        bring(w, reach[0], shows[0], 0); MEASURE(0);
        lane[w] = c; landed++ }
#endif
    /* Step "push to main": the push that the server accepts was made on the head that is there. */
    :: d_step { landed < PUSHES(w) && ROOM ->
        bring(w, reach[main], shows[main], others[main]); MEASURE(main);
        main = c; landed++ }
    :: landed > 0 -> break      /* the answer arrives, or the worker gives up */
    od;
    busy--
}

/* --- Others ------------------------------------------------------------------------------------------------------- */

#if EDITS
/* Step "edit": somebody edits canonical files on `main`, adds a file of its own, and a delta that cannot be read. */
proctype Editor() {
    if
    :: d_step { !CHECK && ROOM ->
        bring(WORKERS, reach[main], EDITED, 1); MEASURE(main);
        main = c }
    :: true
    fi;
    busy--
}
#endif

#if REWINDS || CRASHES
/* What no ref and no running primary has any more is destroyed: nobody could account for it. */
inline destroy() {
    all = reach[main] | reach[tip] | LANES;
#if REWINDS
    for (i : 0 .. PRIMARIES - 1) {
        all = all | kept[i] | (last_main[i] == NONE -> 0 : reach[last_main[i]])
    }
#endif
    destroyed = destroyed | (work & ~all)
}
#endif

#if REWINDS
/* Step "rewind": a forced push moves `main` back to any commit of its history. */
proctype Rewinder() {
    byte to, left = REWINDS;
    do
    :: atomic { left > 0 && !CHECK ->
        left--;
        select (to : 0 .. SIZE - 1);
        d_step { if
        :: to < commits && to != main && HAS(reach[main], to) -> main = to; destroy()
        :: else
        fi;
        to = 0 } }
    :: break
    od
}
#endif

/* --- Publications ------------------------------------------------------------------------------------------------- */

/* Step "judge": the fate of each new version when the frame after `base` closes. Leaves in `all` what the commit will
   reach, in `new` the versions that its ledger names, in `due` the deltas that it merges, in `ahead` those that begin
   to wait, and in `bad` those that it quarantines. */
inline judge(base, tips, only) {
    all = reach[base];
    for (i : 0 .. SIZE - 1) {
        if :: HAS(tips, i) -> all = all | reach[i] :: else fi
    }
    new = work & all & ~reach[base];
#ifdef M_BLIND
    new = new & first;
#endif
    due = 0; ahead = 0; bad = 0;
    for (i : 0 .. WORKERS - 1) {        /* early deltas whose frame this is */
        if :: HAS(waiting[base], i) && TARGET(i) <= frame[base] + 1 -> due = due | BIT(i) :: else fi
    }
    for (i : 0 .. SIZE - 1) {
        if
        :: HAS(new, i) ->
            e = delta[i];
            if
            :: BAD(e) -> bad = bad | BIT(e)
#ifndef M_FORGETFUL
            :: !BAD(e) && HAS(merged[base], e)          /* a duplicate of what is merged */
#endif
            :: !BAD(e) && !HAS(merged[base], e) && HAS(waiting[base], e) && TARGET(e) > frame[base] + 1
                                                        /* a duplicate of what waits */
            :: else ->
                if
                :: TARGET(e) > frame[base] + 1 || (only && !HAS(only, e)) -> ahead = ahead | BIT(e)
                :: else -> due = due | BIT(e)
                fi
            fi
        :: else
        fi
    }
    ahead = ahead & ~due;
#ifdef M_FILTERED
    for (i : 0 .. SIZE - 1) {           /* rejects drop out of a list that is thought to hold deltas alone */
        if :: HAS(new, i) && BAD(delta[i]) -> new = new & ~BIT(i) :: else fi
    }
    bad = 0
#endif
}

/* Step "write": the snapshot commit c of a judged view. It is kept here from the moment at which a ref names it. */
inline write(head, base, tips) {
    add(all, NONE, others[head]);
    shows[c] = c;
    frame[c] = frame[base] + 1;
    previous[c] = base;
    ledger[c] = new;
    merged[c] = merged[base] | due;
    waiting[c] = (waiting[base] & ~due) | ahead;
#if SETTLES
    adds[c] = due;
#endif
#ifdef M_FORGOTTEN
    waiting[c] = ahead;     /* only what began to wait in this frame */
#endif
#ifdef M_NEAREST
    UNMEASURED;
    measure(head);
    if :: !HAS(reach[head], base) -> measure(base) :: else fi;
    for (i : 0 .. SIZE - 1) {
        if :: HAS(tips, i) && !HAS(reach[base], i) -> measure(i) :: else fi
    }
    previous[c] = nearest[c];
#endif
}

#if SETTLES
/* The published ref has moved: the publications between the last one that counted and this one count from now on. */
inline publication() {
    all = 0;
    k = published;
    do
    :: k != tip && k != 0 -> all = all | BIT(k); k = previous[k]
    :: else -> break
    od;
    chain_has_no_fork(k == tip);
    for (i : 0 .. SIZE - 1) {
        if
        :: HAS(all, i) ->
            chain_has_no_fork(frame[i] == frame[previous[i]] + 1);
            counts_once((adds[i] & counted) == 0 && (ledger[i] & named) == 0);
            named = named | ledger[i];
            nothing_is_hidden((work & reach[i] & ~named) == 0);
            counted = counted | adds[i]
        :: else
        fi
    }
    tip = published
}
#else
/* `main` moves to the publication c. */
inline publication() {
    chain_has_no_fork(previous[c] == tip && frame[c] == frame[tip] + 1);
    counts_once((due & counted) == 0 && (ledger[c] & named) == 0);
    named = named | ledger[c];
    nothing_is_hidden((work & reach[c] & ~named) == 0);
    counted = counted | due;
    quarantined = quarantined | bad;
    tip = c
}
#endif

/* Whether a snapshot commit closes the frame after `base`, and its ledger names every version that it adds. */
#define FOLLOWS(candidate, base) (frame[candidate] == frame[base] + 1 && previous[candidate] == base \
    && (work & reach[candidate] & ~reach[base] & ~ledger[candidate]) == 0)

/* Step "find": k becomes the newest publication that refs show to somebody who knows of the publication `known`. */
inline find(known, ref, head) {
    k = ref;
    if :: known != NONE && !HAS(reach[ref], known) -> k = known :: else fi;
    for (i : 0 .. SIZE - 1) {
        if :: HAS(reach[head], i) && !HAS(reach[k], i) && frame[i] != NONE && FOLLOWS(i, k) -> k = i :: else fi
    }
}

/* Whether the server-side check lets a pushed publication in: it holds all of `main`, closes the frame after the last
   publication, and its ledger names every version that it adds. After `judge`. */
#define PASSES(base) (k == base && (reach[main] & ~all) == 0 && (work & all & ~reach[base] & ~new) == 0)

/* Step "swap": both refs move in one transaction, if both are where the view showed them. c becomes the commit, or NONE
   if nothing moved. */
inline swap(head, ref, base, tips, only, by_push) {
    c = NONE;
    if
#ifdef M_FORCED
    :: ROOM ->
#else
    :: main == head && published == ref && ROOM ->
#endif
        k = base;
#if CHECK
        if :: by_push -> find(NONE, published, main) :: else fi;
#endif
        judge(base, tips, only);
        if
        :: !by_push || !CHECK || PASSES(base) ->
            write(head, base, tips); main = c; published = c; publication()
        :: else
        fi
    :: else
    fi
}

#if SPLIT
/* Step "push one by one": a server without atomic pushes gets `main` first, and the published ref only after it. */
inline split_main(head, base, tips, only) {
    c = NONE;
    if
    :: main == head && ROOM ->
        judge(base, tips, only); write(head, base, tips); main = c;
#if !SETTLES
        publication()
#endif
    :: else
    fi
}

inline split_published(ref, base, tips, only) {
#ifdef M_TOGETHER
    if      /* in one push, in which each ref has its own lease */
    :: mine == NONE && published == ref && ROOM ->
        judge(base, tips, only); write(head, base, tips); publication(); mine = c
    :: else
    fi;
#endif
    if
    :: mine != NONE && published == ref ->
        published = mine;
#if SETTLES
        publication()
#endif
    :: else
    fi
}
#endif

#if TIMEOUTS
inline answered() {
    flying = 0; fly_head = 0; fly_published = 0; fly_base = 0; fly_tips = 0; fly_only = 0
}

/* Step "late": the server gets to the push that it had not answered, or it never does. */
proctype Server() {
    do
    :: d_step { flying -> swap(fly_head, fly_published, fly_base, fly_tips, fly_only, true); answered() }
    :: d_step { flying -> answered() }
    :: !flying && (timeouts == 0 || busy == 0) -> break
    od
}
#endif

/* --- Primaries ---------------------------------------------------------------------------------------------------- */

#define IS_DISTANT(p) HAS(DISTANT, p)
#define IS_DUE(p) ((frame[tip] < FRAMES || (busy == 0 && LEFT(p))) && ROOM)

/* Step "look": the refs, and what they show: the last publication `base`, and the heads `tips` that bring something. */
inline read_main() { head = main }
inline read_published() { ref = published }

/* A primary knows a publication once the published ref names it: half a one may have never been. */
inline remember(p) {
#ifdef M_HALF
    seen[p] = base
#else
    if :: ref == base -> seen[p] = base :: else fi
#endif
}

inline understand(p) {
    tips = 0;
    for (i : 0 .. WORKERS - 1) {
        if :: lane[i] != NONE -> tips = tips | BIT(lane[i]) :: else fi
    }
#ifdef M_UNLOADED
    if :: base == NONE -> find(seen[p], ref, head); base = k :: else fi;
#else
    find(seen[p], ref, head);
    base = k;
#endif
    remember(p);
#if REWINDS
#ifndef M_REWOUND
    if
    :: last_main[p] != NONE && !HAS(reach[head], last_main[p]) -> kept[p] = kept[p] | reach[last_main[p]]
    :: else
    fi;
#endif
    last_main[p] = head;
    kept[p] = kept[p] & ~reach[base];
#endif
    tips = tips | BIT(head) | KEPT(p)
}

inline look(p) {
    read_main();
    read_published();
    understand(p)
}

/* Step "lose a race": a slow close publishes what it has merged, with what came meanwhile held back. */
inline lose() {
#if SLOW
    if
    :: d_step { judge(base, tips, only); only = due | 128; only_base = base }
    :: true -> only = 0
    fi
#else
    only = 0
#endif
}

/* What a slow close has merged counts only on the publication that it was merged onto. */
inline keep_merged() {
    if :: only_base != base -> only = 0 :: else fi;
    only_base = NONE
}

/* A view ends with its use; what outlives it is in `seen`, `last_main` and `kept`. */
inline forget() {
#ifndef M_UNLOADED
    base = NONE;
#endif
    head = 0; ref = 0; tips = 0; mine = NONE
}

/* Step "kill": the process ends. A clone keeps what it saw published; all else that a primary remembers is gone. */
inline die(p) {
    if :: IS_DISTANT(p) :: else -> seen[p] = NONE fi;
#if REWINDS
    last_main[p] = NONE; kept[p] = 0;
#endif
    destroy();
    crashes--; only = 0; only_base = NONE; base = NONE;
    forget()
}

proctype Primary(byte p) {
    byte head = 0, ref = 0, base = NONE, mine = NONE;
    short tips = 0;
    byte only = 0, only_base = NONE;    /* the deltas that a slow close has merged already, and onto what */
#ifdef M_BLIND
    short first = 0;
#endif

end:
    do
    /* Step "due": the frame closes, whatever its closing rule is. */
    :: d_step { IS_DUE(p) -> look(p); keep_merged() }
        goto close
#if TORN
    :: d_step { IS_DUE(p) -> read_main() }
        d_step { read_published(); understand(p); keep_merged() }
        goto close
    :: d_step { IS_DUE(p) -> read_published() }
        d_step { read_main(); understand(p); keep_merged() }
        goto close
#endif
#if EDITS
    :: d_step { shows[main] != tip && HAS(reach[main], tip) && ROOM -> look(p) }
        goto restore
#endif
#if REWINDS
    :: d_step { last_main[p] != main -> look(p); forget() }     /* step "poll": no frame is due */
#endif
#if REMOVALS
    :: d_step { removals > 0 && seen[p] != NONE && lane[0] != NONE && HAS(reach[seen[p]], lane[0]) ->
        removals--; mine = lane[0] }
        goto remove
#endif
#if CRASHES
    :: d_step { crashes > 0 -> die(p) }
#endif
    od;

close:
#ifdef M_BLIND
    if
    :: d_step { first == 0 -> first = 32767; judge(base, tips, 0); first = new }
    :: first != 0
    fi;
#endif
    if
    :: atomic { !IS_DISTANT(p) ->           /* one transaction on the repository's own disk */
        d_step { swap(head, ref, base, tips, only, false); mine = c };
        if :: mine != NONE -> seen[p] = mine; only = 0 :: else -> lose() fi;
        forget() }
#if SPLIT
    :: d_step { IS_DISTANT(p) -> split_main(head, base, tips, only); mine = c }
        if
        :: d_step { true -> split_published(ref, base, tips, only) }
#if CRASHES
        :: d_step { crashes > 0 -> die(p) }
#endif
        fi;
        d_step { if :: mine != NONE && published == mine -> seen[p] = mine :: else fi; only = 0; forget() }
#else
    :: atomic { IS_DISTANT(p) ->            /* a push of both refs, each with a lease */
        d_step {
            swap(head, ref, base, tips, only, true);
#ifdef M_TRUSTED
            if :: c == NONE -> judge(base, tips, only); write(head, base, tips); seen[p] = c :: else fi;
#endif
            mine = c };
        if :: mine != NONE -> only = 0 :: else -> lose(); forget() fi }
        if
        :: d_step { mine != NONE ->         /* step "read back": only what is there now counts */
            if :: HAS(reach[main], mine) -> seen[p] = mine :: else fi;
            forget() }
#if CRASHES
        :: d_step { mine != NONE && crashes > 0 -> die(p) }
#endif
        :: mine == NONE
        fi
#endif
#if TIMEOUTS
    :: atomic { IS_DISTANT(p) && timeouts > 0 && !flying ->     /* no answer, and nothing has moved yet */
        timeouts--;
        flying = 1; fly_head = head; fly_published = ref; fly_base = base; fly_tips = tips; fly_only = only;
        only = 0; forget() }
#endif
#if CRASHES
    :: d_step { crashes > 0 -> die(p) }
#endif
    fi;
    goto end;

#if EDITS
restore:
    if  /* step "restore": the published canonical files on top of the head that was seen, by a swap of `main` alone */
    :: d_step { true ->
        if
        :: main == head && shows[head] != base && HAS(reach[head], base) && ROOM ->
            k = published;
            add(reach[head], base, others[head]);
            UNMEASURED; MEASURE(head);
#ifdef M_RESTORED_TREE
            others[c] = others[base];
#endif
#ifdef M_RESTORED_REF
            published = c;
#endif
            main = c;
            restore_changes_nothing_else(published == k && others[c] == others[head] && shows[c] == base
                && reach[c] == (reach[head] | BIT(c)))
        :: else
        fi;
        forget() }
    fi;
    goto end;
#endif

#if REMOVALS
remove:
    if  /* step "remove a lane": from the head that was seen merged */
    :: d_step { true ->
#ifdef M_REMOVED
        lane[0] = NONE;
#else
        if :: lane[0] == mine -> lane[0] = NONE :: else fi;
#endif
        forget() }
    fi;
    goto end
#endif
}

init {
    atomic {
        reach[0] = 1;
        for (i : 0 .. WORKERS - 1) { lane[i] = NONE }
        run Primary(0); run Primary(1);
        for (i : 0 .. WORKERS - 1) { run Worker(i) }
#if EDITS
        run Editor();
#endif
#if REWINDS
        run Rewinder();
#endif
#if TIMEOUTS
        run Server();
#endif
    }
    /* Nobody can do anything any more: every worker is done, and both primaries have nothing left to publish. */
    timeout ->
    d_step {
        acknowledged_is_accounted_for((work & ~destroyed & ~named) == 0);
        for (i : 0 .. SIZE - 1) {
            if
            :: HAS(work & ~destroyed, i) ->
                acknowledged_is_accounted_for(
                    HAS(counted, delta[i]) + HAS(waiting[tip], delta[i]) + HAS(quarantined, delta[i]) == 1)
            :: else
            fi
        }
    }
}
