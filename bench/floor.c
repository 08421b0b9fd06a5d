/* The floor: the end state of a scenario by the cheapest requests we know, with nothing around them.
 *
 *   floor up      SHAPE PREFIX LINKS THREADS GROUP NODES   namespaces PREFIX0, ... are there
 *   floor create  chain PREFIX LINKS THREADS GROUP NODES   makes them as well
 *   floor destroy SHAPE PREFIX LINKS THREADS GROUP NODES   GROUP 0: link by link; else all of the group
 *                                                        at once, in as few namespaces as possible
 *   floor unmount chain PREFIX LINKS THREADS GROUP NODES   removes the namespaces, their links with them
 *
 *   chain    link i joins eth1 of namespace i and eth0 of namespace i + 1
 *   mirror   the same, and what passes lo of namespace i is copied to its eth1
 *   star     link i joins eth<i> of namespace 0 and eth0 of namespace i + 1
 *   bundle   link i joins eth<2i> and eth<2i+1> of namespace 0
 *   mesh     link i joins eth<i> of two of NODES namespaces, pair after pair, again from the first after the last
 *   vxlan    link i is eth0 of namespace i + 1, VNI i + 1, on interface UPLINK of namespace 0, to REMOTE
 *
 * Exit 0 when the kernel accepted everything; 1, with its errno on stderr, at the first thing it refused.
 *
 * What makes it cheap: a link is made in place (IFLA_NET_NS_FD of the peer, the sender is in the other namespace
 * already), with one queue pair an end, its first end up from the start. The ifindexes are chosen, so nothing has
 * to be asked back. So ONE send a namespace of a chain carries all there is to do in it: its left end up, its address,
 * the next link, its address. One ACK a send: a refused message is reported with or without NLM_F_ACK, and the last
 * one's ACK says that all before it were handled. A thread has two namespace descriptors and one socket open at a time;
 * those of the namespaces that many links share (SHARED) stay open. A namespace that is made is entered by unshare()
 * already: its socket is opened there and then, and its descriptor is that of /proc/thread-self/ns/net.
 *
 * Variants that were tried, in a scratch program that sent the same requests: 1,000 links, namespaces cleaned and used
 * again, 9 interleaved rounds on 2 processors that others were using as well (load 5 to 13), Linux 6.18; median
 * (lowest) in ms a link:
 *
 *   this one, 2 threads                               0.468 (0.43)    one send for two messages each  0.489 (0.40)
 *   1 / 3 / 4 threads        0.471 (0.37) / 0.488 (0.40) / 0.513 (0.43)    first end up by its own message 0.481 (0.42)
 *   a thread that opens, a thread that sends          0.485 (0.42)    ACK of every message            0.482 (0.40)
 *   a thread for new links, one for their other ends  0.545 (0.42)    address before up               0.477 (0.38)
 *   8 links a send from a scratch namespace, the rest after  0.457 (0.43)    RTM_NEWLINK to set up    0.487 (0.40)
 *   1 link a send from a scratch namespace            0.495 (0.38)    sockets left to exit            0.513 (0.46)
 *   chunks of 20 links on demand, not halves          0.484 (0.47)    the default number of queues    0.649 (0.55)
 *
 * Only the number of queues stands out; the others, the number of threads too, cannot be told apart in that noise.
 * Messages are encoded as they are sent: that this costs nothing next to the kernel's part is an estimate, not measured.
 *
 * On the same machine with nothing else to do, 1,000 links, ms a link, median (lowest):
 *
 *   chain, 1 / 2 / 4 threads         0.371 (0.34) / 0.366 (0.35) / 0.374 (0.36)
 *   star, 1 / 2 / 4 threads          0.476 (0.47) / 0.486 (0.47) / 0.537 (0.51)
 *   mesh, 1 / 2 / 4 threads          0.393 (0.39) / 0.419 (0.37) / 0.410 (0.40)
 *   create, 1 / 2 / 4 / 16 threads   1.50 (0.91) / 1.27 (1.06) / 1.13 (1.09) / 1.10 (0.90)
 *   create, all namespaces first     1.15 (0.99) with 2 threads, next to 1.21 (0.80) as it is
 *   unmount, 1 / 2 / 4 / 16 threads  0.028 (0.02) / 0.30 (0.03) / 0.24 (0.09) / 0.022 (0.02); the highest of 1: 0.39
 *   mesh by group, 1 / 16 / 255      0.89 (0.85) / 0.37 (0.32) / 0.39 (0.36)
 *   star by group                    0.33 (0.33); it is one request
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <linux/veth.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

/* Above the ifindexes that modules take for themselves in every new namespace (sit0, tunl0, ...), below 64. */
enum { LO = 1, ETH0 = 40, ETH1 = 41, MANY = 100, UPLINK = 4242, MAX_NODES = 64, MAX_THREADS = 1024, STACK = 64 << 10 };
static const unsigned FIRST_ADDRESS = 0x0a000000; /* 10.0.0.0; a /31 a link */
static const unsigned REMOTE = 0xc0000201;        /* 192.0.2.1 */
static const unsigned short VXLAN_PORT = 4789;

enum shape { CHAIN, MIRROR, STAR, BUNDLE, MESH, VXLAN, SHAPES };
static const char *const names[SHAPES] = {"chain", "mirror", "star", "bundle", "mesh", "vxlan"};
/* That many namespaces, from 0, have many links; of the mesh all have. */
static const int SHARED[SHAPES] = {[STAR] = 1, [BUNDLE] = 1, [MESH] = MAX_NODES, [VXLAN] = 1};

static const char *prefix;
static enum shape shape;
static int links, threads, nodes;
static unsigned group;

struct end {
    int namespace, index;
    char name[IFNAMSIZ];
};

struct link {
    int number;
    struct end a, b;
};

static struct end end_at(int namespace, int index, int name) {
    struct end e = {.namespace = namespace, .index = index};
    snprintf(e.name, sizeof e.name, "eth%d", name);
    return e;
}

static struct link link_number(int i) {
    struct link l = {.number = i};
    int a = 0, within = i % (nodes * (nodes - 1) / 2);
    switch (shape) {
    case CHAIN:
    case MIRROR:
        l.a = end_at(i, ETH1, 1), l.b = end_at(i + 1, ETH0, 0);
        break;
    case STAR:
        l.a = end_at(0, MANY + i, i), l.b = end_at(i + 1, ETH0, 0);
        break;
    case BUNDLE:
        l.a = end_at(0, MANY + 2 * i, 2 * i), l.b = end_at(0, MANY + 2 * i + 1, 2 * i + 1);
        break;
    case MESH: /* 0-1, 0-2, ... 0-49, 1-2, ... */
        for (; within >= nodes - 1 - a; a++)
            within -= nodes - 1 - a;
        l.a = end_at(a, MANY + i, i), l.b = end_at(a + 1 + within, MANY + i, i);
        break;
    default:
        l.a = end_at(i + 1, ETH0, 0);
    }
    return l;
}

struct batch {
    char bytes[2048]; /* the fullest one, seven messages, takes under 800 */
    int size;
    unsigned seq;
    struct nlmsghdr *last;
};

static void die(const char *what) {
    perror(what);
    _exit(1);
}

static const char *path_of(char *path, size_t size, int i) {
    snprintf(path, size, "/run/netns/%s%d", prefix, i);
    return path;
}

static int open_or_die(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        die(path);
    return fd;
}

static int namespace_fd(int i) {
    char path[256];
    return open_or_die(path_of(path, sizeof path, i));
}

/* Leaves the calling thread in the new namespace; returns its descriptor. */
static int make_namespace(int i) {
    char path[256];
    int file = open(path_of(path, sizeof path, i), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    if (file < 0)
        die(path);
    close(file);
    if (unshare(CLONE_NEWNET))
        die("unshare");
    if (mount("/proc/thread-self/ns/net", path, NULL, MS_BIND, NULL))
        die("mount");
    return open_or_die("/proc/thread-self/ns/net");
}

static int open_socket(void) {
    int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (s < 0)
        die("socket");
    return s;
}

/* Leaves the calling thread in the namespace. */
static int socket_in(int fd) {
    if (setns(fd, CLONE_NEWNET))
        die("setns");
    return open_socket();
}

static void put(struct batch *b, const void *data, int size) {
    memset(b->bytes + b->size, 0, NLMSG_ALIGN(size));
    memcpy(b->bytes + b->size, data, size);
    b->size += NLMSG_ALIGN(size);
}

static int put_attr(struct batch *b, int type, const void *data, int size) {
    int at = b->size;
    struct rtattr head = {.rta_len = RTA_LENGTH(size), .rta_type = type};
    put(b, &head, sizeof head);
    put(b, data, size);
    return at;
}

static void put_u32(struct batch *b, int type, unsigned value) { put_attr(b, type, &value, sizeof value); }

static void end_nest(struct batch *b, int at) { ((struct rtattr *)(b->bytes + at))->rta_len = b->size - at; }

static void begin(struct batch *b, int type, int flags) {
    b->last = (struct nlmsghdr *)(b->bytes + b->size);
    struct nlmsghdr head = {.nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = ++b->seq};
    put(b, &head, sizeof head);
}

static void end(struct batch *b) { b->last->nlmsg_len = b->bytes + b->size - (char *)b->last; }

static void put_end(struct batch *b, const char *name) {
    put_attr(b, IFLA_IFNAME, name, strlen(name) + 1);
    put_u32(b, IFLA_NUM_TX_QUEUES, 1);
    put_u32(b, IFLA_NUM_RX_QUEUES, 1);
    if (group)
        put_u32(b, IFLA_GROUP, group);
}

/* Peer in the namespace of peer_fd; < 0 for the sender's. */
static void new_link(struct batch *b, const struct link *l, int peer_fd) {
    begin(b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    struct ifinfomsg first = {.ifi_index = l->a.index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    put(b, &first, sizeof first);
    put_end(b, l->a.name);
    int info = put_attr(b, IFLA_LINKINFO, "", 0);
    put_attr(b, IFLA_INFO_KIND, "veth", 4);
    int data = put_attr(b, IFLA_INFO_DATA, "", 0);
    int peer = put_attr(b, VETH_INFO_PEER, "", 0);
    struct ifinfomsg second = {.ifi_index = l->b.index}; /* IFF_UP here would be refused, with ENOTCONN */
    put(b, &second, sizeof second);
    put_end(b, l->b.name);
    if (peer_fd >= 0)
        put_u32(b, IFLA_NET_NS_FD, peer_fd);
    end_nest(b, peer);
    end_nest(b, data);
    end_nest(b, info);
    end(b);
}

/* Sent from the namespace of the interface it stands on. */
static void new_vxlan(struct batch *b, const struct link *l, int fd) {
    unsigned short port = htons(VXLAN_PORT);
    begin(b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    struct ifinfomsg head = {.ifi_index = l->a.index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    put(b, &head, sizeof head);
    put_end(b, l->a.name);
    put_u32(b, IFLA_NET_NS_FD, fd);
    int info = put_attr(b, IFLA_LINKINFO, "", 0);
    put_attr(b, IFLA_INFO_KIND, "vxlan", 5);
    int data = put_attr(b, IFLA_INFO_DATA, "", 0);
    put_u32(b, IFLA_VXLAN_ID, l->number + 1);
    put_u32(b, IFLA_VXLAN_LINK, UPLINK);
    put_u32(b, IFLA_VXLAN_GROUP, htonl(REMOTE));
    put_attr(b, IFLA_VXLAN_LEARNING, "\1", 1);
    put_attr(b, IFLA_VXLAN_PORT, &port, sizeof port);
    end_nest(b, data);
    end_nest(b, info);
    end(b);
}

static void clsact(struct batch *b, int type, int flags) {
    begin(b, type, flags);
    struct tcmsg head = {.tcm_ifindex = LO, .tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0), .tcm_parent = TC_H_CLSACT};
    put(b, &head, sizeof head);
    put_attr(b, TCA_KIND, "clsact", 7);
    end(b);
}

/* What passes lo, in the direction of the hook, is copied to the interface. u32: no kernel lacks it. */
static void new_mirror(struct batch *b, unsigned hook, unsigned priority, int to) {
    struct {
        struct tc_u32_sel sel;
        struct tc_u32_key any;
    } match = {.sel = {.flags = TC_U32_TERMINAL, .nkeys = 1}};
    struct tc_mirred mirred = {.action = TC_ACT_PIPE, .eaction = TCA_EGRESS_MIRROR, .ifindex = to};
    begin(b, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL);
    struct tcmsg head = {.tcm_ifindex = LO,
                         .tcm_parent = TC_H_MAKE(TC_H_CLSACT, hook),
                         .tcm_info = TC_H_MAKE(priority << 16, htons(ETH_P_ALL))};
    put(b, &head, sizeof head);
    put_attr(b, TCA_KIND, "u32", 4);
    int options = put_attr(b, TCA_OPTIONS, "", 0);
    put_attr(b, TCA_U32_SEL, &match, sizeof match);
    int actions = put_attr(b, TCA_U32_ACT, "", 0), action = put_attr(b, 1, "", 0);
    put_attr(b, TCA_ACT_KIND, "mirred", 7);
    int parameters = put_attr(b, TCA_ACT_OPTIONS, "", 0);
    put_attr(b, TCA_MIRRED_PARMS, &mirred, sizeof mirred);
    end_nest(b, parameters);
    end_nest(b, action);
    end_nest(b, actions);
    end_nest(b, options);
    end(b);
}

static void set_up(struct batch *b, int index) {
    begin(b, RTM_SETLINK, 0);
    struct ifinfomsg link = {.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    put(b, &link, sizeof link);
    end(b);
}

static void new_address(struct batch *b, int index, unsigned address) {
    begin(b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    struct ifaddrmsg head = {.ifa_family = AF_INET, .ifa_prefixlen = 31, .ifa_index = index};
    put(b, &head, sizeof head);
    put_u32(b, IFA_LOCAL, htonl(address));
    put_u32(b, IFA_ADDRESS, htonl(address));
    end(b);
}

static unsigned address_of(const struct link *l, int second) { return FIRST_ADDRESS + 2 * l->number + second; }

/* All of the group in the namespace of the socket, or the link of that index. */
static void del_link(struct batch *b, int index) {
    begin(b, RTM_DELLINK, 0);
    struct ifinfomsg link = {.ifi_index = group ? 0 : index};
    put(b, &link, sizeof link);
    if (group)
        put_u32(b, IFLA_GROUP, group);
    end(b);
}

/* The kernel works inside send(): the answers are there when it returns, so the receive never has to wait. */
static void transact(int s, struct batch *b) {
    char answer[4096];
    b->last->nlmsg_flags |= NLM_F_ACK;
    if (send(s, b->bytes, b->size, 0) != b->size)
        die("send");
    for (;;) {
        int size = recv(s, answer, sizeof answer, MSG_DONTWAIT);
        if (size < 0)
            die("recv");
        for (struct nlmsghdr *h = (struct nlmsghdr *)answer; NLMSG_OK(h, size); h = NLMSG_NEXT(h, size)) {
            struct nlmsgerr *error = NLMSG_DATA(h);
            /* Another thread has deleted what was left of a group, from its links' other ends. */
            int gone = group && b->last->nlmsg_type == RTM_DELLINK && error->error == -ENODEV;
            if (h->nlmsg_type != NLMSG_ERROR || (error->error && !gone)) {
                errno = h->nlmsg_type == NLMSG_ERROR ? -error->error : EPROTO;
                die("refused");
            }
            if (h->nlmsg_seq == b->seq) {
                b->size = 0;
                return;
            }
        }
    }
}

static int seam(int t) { return (long)links * t / threads; }

/* A thread's links are neighbours, so that a namespace is opened once; only the ones at the seams twice. */
static void *up_chain(void *number) {
    int t = (long)number, from = seam(t), to = seam(t + 1);
    struct batch b = {.size = 0};
    if (from == to)
        return NULL;
    for (int i = from, here = namespace_fd(from), next = -1; i <= to; i++, here = next) {
        int s = socket_in(here);
        if (shape == MIRROR && i < to)
            clsact(&b, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL);
        if (i > from) {
            struct link left = link_number(i - 1);
            set_up(&b, ETH0);
            new_address(&b, ETH0, address_of(&left, 1));
        }
        if (i < to) {
            struct link l = link_number(i);
            new_link(&b, &l, next = namespace_fd(i + 1));
            new_address(&b, ETH1, address_of(&l, 0));
        }
        if (shape == MIRROR && i < to) {
            new_mirror(&b, TC_H_MIN_INGRESS, 1, ETH1);
            new_mirror(&b, TC_H_MIN_EGRESS, 2, ETH1);
        }
        transact(s, &b);
        close(s);
        close(here);
    }
    return NULL;
}

/* The same; the namespaces at the seams are there, each thread makes those between them. */
static void *create_chain(void *number) {
    int t = (long)number, from = seam(t), to = seam(t + 1);
    struct batch b = {.size = 0};
    if (from == to)
        return NULL;
    for (int i = from, here = namespace_fd(from), s = socket_in(here), next = -1, next_s = -1; i <= to;
         i++, here = next, s = next_s) {
        if (i > from) {
            struct link left = link_number(i - 1);
            set_up(&b, ETH0);
            new_address(&b, ETH0, address_of(&left, 1));
        }
        if (i < to) {
            struct link l = link_number(i);
            next = i + 1 < to ? make_namespace(i + 1) : namespace_fd(to);
            next_s = i + 1 < to ? open_socket() : socket_in(next);
            new_link(&b, &l, next);
            new_address(&b, ETH1, address_of(&l, 0));
        }
        transact(s, &b);
        close(s);
        close(here);
    }
    return NULL;
}

struct place {
    int fd, socket;
};

static struct place enter(struct place *shared, int i) {
    if (i < SHARED[shape] && shared[i].socket)
        return shared[i];
    struct place p = {.fd = namespace_fd(i)};
    p.socket = socket_in(p.fd);
    if (i < SHARED[shape])
        shared[i] = p;
    return p;
}

static void leave(struct place p, int i) {
    if (i >= SHARED[shape]) {
        close(p.socket);
        close(p.fd);
    }
}

static void *up_shared(void *number) {
    struct place shared[MAX_NODES] = {0};
    struct batch b = {.size = 0};
    int to = seam((long)number + 1);
    for (int i = seam((long)number); i < to; i++) {
        struct link l = link_number(i);
        struct place p = enter(shared, shape == VXLAN ? 0 : l.a.namespace), q = p;
        if (shape == VXLAN) {
            q = enter(shared, l.a.namespace);
            new_vxlan(&b, &l, q.fd);
            transact(p.socket, &b);
            new_address(&b, l.a.index, address_of(&l, 0));
            transact(q.socket, &b);
            leave(q, l.a.namespace);
            continue;
        }
        if (l.a.namespace != l.b.namespace)
            q = enter(shared, l.b.namespace);
        new_link(&b, &l, q.fd == p.fd ? -1 : q.fd);
        new_address(&b, l.a.index, address_of(&l, 0));
        if (q.fd != p.fd)
            transact(p.socket, &b);
        set_up(&b, l.b.index);
        new_address(&b, l.b.index, address_of(&l, 1));
        transact(q.socket, &b);
        leave(p, l.a.namespace);
        leave(q, l.b.namespace);
    }
    return NULL;
}

/* Every link of a chain has exactly one end in a namespace with an odd number; the first end of one of the mesh is not
 * in the last namespace. */
static void *destroy(void *number) {
    int step = 1, from = 0, to = links;
    struct batch b = {.size = 0};
    if (group && (shape == CHAIN || shape == MIRROR))
        step = 2, from = 1, to = links + 1;
    else if (group && shape != VXLAN)
        to = shape == MESH ? nodes - 1 : 1;
    for (int i = from + (long)number * step; i < to; i += threads * step) {
        struct link l = link_number(i);
        int fd = namespace_fd(group && shape != VXLAN ? i : l.a.namespace), s = socket_in(fd);
        del_link(&b, l.a.index);
        transact(s, &b);
        close(s);
        close(fd);
    }
    for (int i = seam((long)number); shape == MIRROR && i < seam((long)number + 1); i++) {
        int fd = namespace_fd(i), s = socket_in(fd);
        clsact(&b, RTM_DELQDISC, 0);
        transact(s, &b);
        close(s);
        close(fd);
    }
    return NULL;
}

static void *unmount(void *number) {
    char path[256];
    for (int i = (long)number; i <= links; i += threads)
        if (umount2(path_of(path, sizeof path, i), MNT_DETACH) || unlink(path))
            die(path);
    return NULL;
}

static int usage(void) {
    fprintf(stderr, "usage: floor up|create|destroy|unmount SHAPE PREFIX LINKS THREADS GROUP NODES\n");
    return 2;
}

int main(int argc, char **argv) {
    pthread_t ids[MAX_THREADS];
    pthread_attr_t attributes;
    void *(*job)(void *) = NULL;
    if (argc != 8)
        return usage();
    while (shape < SHAPES && strcmp(argv[2], names[shape]))
        shape++;
    prefix = argv[3];
    links = atoi(argv[4]);
    threads = atoi(argv[5]);
    group = strtoul(argv[6], NULL, 10);
    nodes = atoi(argv[7]);
    if (!strcmp(argv[1], "up"))
        job = shape == CHAIN || shape == MIRROR ? up_chain : up_shared;
    else if (!strcmp(argv[1], "create") && shape == CHAIN)
        job = create_chain;
    else if (!strcmp(argv[1], "destroy"))
        job = destroy;
    else if (!strcmp(argv[1], "unmount") && shape == CHAIN)
        job = unmount;
    if (!job || shape == SHAPES || links < 1 || threads < 1 || threads > MAX_THREADS || nodes < 2 ||
        nodes > MAX_NODES)
        return usage();
    for (int t = 0; job == create_chain && t <= threads; t++)
        if (t == 0 || seam(t) != seam(t - 1))
            close(make_namespace(seam(t)));
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    for (long t = 0; t < threads; t++)
        if ((errno = pthread_create(&ids[t], &attributes, job, (void *)t)))
            die("pthread_create");
    for (int t = 0; t < threads; t++)
        pthread_join(ids[t], NULL);
    return 0;
}
