// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Connections as events; bytes and packets counted per socket and peer, and read by the user side at an interval.
 *
 * What counts is payload as the application knows it. Sent over TCP: each sequence number once. Received over TCP: what
 * TCP itself took in order (bpf_tcp_sock), so neither retransmissions nor a peer's wild sequence numbers are counted.
 *
 * The counts go to one of two arrays, by place. A socket remembers its place, and a place says whose it is, so that one
 * which was read and emptied meanwhile is not taken for the socket's. The user side swaps the arrays, and then empties
 * the one that nobody writes to any more.
 */
#include "flow.h"

EVENT(flow);

/* Only this protocol, and only over IPv4, if set. */
const volatile __u8 only_proto = 0;
const volatile __u8 only_ipv4 = 0;

#define PLACES 32768 /* in each array; the first holds no volume, but tells in its `cookie` which of the two it is */

struct volume {
	__u64 cookie;     /* the socket's; 0: the place is empty */
	struct flow flow; /* from the socket to its peer, at the first packet in this interval */
	__u64 bytes[2];   /* by direction */
	__u64 packets[2];
};

struct volumes {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PLACES);
	__type(key, __u32);
	__type(value, struct volume);
} volumes_a SEC(".maps"), volumes_b SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct volumes);
} volumes SEC(".maps") = { .values = { [0] = &volumes_a } };

struct taken {
	struct bpf_spin_lock lock;
	__u32 places;
};

/* How many places of each array are taken, the first not counted. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct taken);
} taken SEC(".maps");

/* A UDP socket may have many. */
struct pair {
	__u64 peer[2], local[2]; /* addresses, as in struct flow */
	__u16 peer_port;
	__u16 unused[3];
};

enum known {
	NEW,
	LISTENS, /* a listener; or, copied from it by the kernel, an accepted connection of which no packet was seen yet */
	WAITS,   /* an accepted connection whose event waits until it is known who accepts it */
	KNOWN,   /* its connection event is out, or none is due */
	OWN,     /* the agent's own */
};

struct traffic {
	struct bpf_spin_lock lock; /* a socket's packets may come on several CPUs, and while it sends */
	__u32 known;
	__u64 cookie;
	__u32 place;        /* of its volume; UDP: of the one that was added to last */
	__u32 begun;        /* TCP: sequence number of the first byte behind its own SYN, if it connects */
	__u32 sent_next;    /* TCP: sequence number after the last byte that was counted */
	__u32 fin_next;     /* TCP: sequence number after the peer's FIN, which TCP counts as a byte received */
	__u32 fin_seen;
	__u64 received;     /* TCP: bytes that were counted */
	__u64 since;        /* TCP: when the first packet was seen */
	struct pair latest; /* UDP: the latest ends, whose connection event is out */
};

/* It and `peers` outlive a probe that another takes the place of: so connections go on, and do not begin again. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct traffic);
} traffic SEC(".maps");

struct peer {
	__u64 cookie;
	struct pair pair;
};

/* UDP sockets with many peers: those whose connection event is out, and their place. A forgotten one is announced again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct peer);
	__type(value, __u32);
} peers SEC(".maps");

struct bytes {
	__u64 out, in;
};

static __always_inline void count_uncounted(__u32 packets, __u64 bytes)
{
	struct counts *c = counted();

	if (c) {
		__sync_fetch_and_add(&c->uncounted, packets);
		__sync_fetch_and_add(&c->uncounted_bytes, bytes);
	}
}

/* The packet's ends as the socket's own process sees them if `view` is OUT, as its peer does if it is IN. */
static __always_inline int read_flow(struct __sk_buff *skb, const struct layout *at, enum direction direction,
				     enum direction view, struct flow *flow)
{
	struct flow packet;

	if (!read_ends(skb, at, direction, &packet))
		return 0;
	*flow = packet;
	if (view != direction) {
		__builtin_memcpy(flow->s_ip, packet.d_ip, sizeof(flow->s_ip));
		__builtin_memcpy(flow->d_ip, packet.s_ip, sizeof(flow->d_ip));
		flow->s_port = packet.d_port;
		flow->d_port = packet.s_port;
		flow->direction = view;
	}
	read_owner(skb, owner_of(skb), flow);
	return 1;
}

/*
 * A connection is told from the side that began it: `begun` is OUT where the socket's own process did. `since`: when it
 * began, if that was not now.
 */
static __always_inline void announce(struct __sk_buff *skb, const struct layout *at, enum direction direction,
				     enum direction begun, __u64 since)
{
	struct flow flow;

	if (!read_flow(skb, at, direction, begun, &flow))
		return;
	if (since)
		flow.time = since;
	hand_over(skb, &flow);
}

/* The volume at a place, if it is this socket's. */
static __always_inline struct volume *volume_at(void *active, __u32 place, __u64 cookie)
{
	struct volume *volume = active && place ? bpf_map_lookup_elem(active, &place) : 0;

	return volume && volume->cookie == cookie ? volume : 0;
}

/* A volume at the next empty place; 0 where there is none. */
static __always_inline struct volume *new_volume(struct __sk_buff *skb, const struct layout *at,
						 enum direction direction, void *active, __u64 cookie, __u32 *place)
{
	__u32 zero = 0, which;
	struct volume *volume = active ? bpf_map_lookup_elem(active, &zero) : 0;
	struct taken *t;

	which = volume ? volume->cookie : 0;
	t = bpf_map_lookup_elem(&taken, &which);
	if (!active || !t)
		return 0;
	bpf_spin_lock(&t->lock);
	*place = t->places < PLACES - 1 ? ++t->places : PLACES;
	bpf_spin_unlock(&t->lock);
	volume = bpf_map_lookup_elem(active, place);
	if (!volume || !read_flow(skb, at, direction, OUT, &volume->flow))
		return 0;
	volume->cookie = cookie;
	return volume;
}

/* Bytes that TCP took in, from the two counters that it keeps of them. */
static __always_inline __u64 taken_in(const struct traffic *t, __u64 received, __u32 rcv_nxt)
{
	return t->fin_seen && rcv_nxt == t->fin_next ? received - 1 : received;
}

static __always_inline void count_sent(struct traffic *t, __u32 end, __u32 fin, struct bytes *bytes)
{
	__s32 new = end - t->sent_next;

	if (new > 0)
		bytes->out = new;
	if (new >= 0)
		t->sent_next += new + fin;
}

static __always_inline void count_received(struct traffic *t, __u64 received, struct bytes *bytes)
{
	if (received > t->received) {
		bytes->in = received - t->received;
		t->received = received;
	}
}

/* As if nothing was seen of the socket yet. */
static __always_inline void forget(struct traffic *t, enum known known)
{
	bpf_spin_lock(&t->lock);
	t->known = known;
	t->place = 0;
	t->received = 0;
	t->fin_seen = 0;
	bpf_spin_unlock(&t->lock);
}

#define PATIENCE 1000000000 /* ns */

/*
 * The event of an accepted connection waits until it is known who accepted it, which comes after its first packets; but
 * not where somebody uses it already (accept(2) was not asked for the peer's address, and is not traced), or it ends.
 */
static __always_inline void announce_accepted(struct __sk_buff *skb, const struct layout *at, enum direction direction,
					      struct traffic *t, struct volume *volume, int used)
{
	const struct owner *owner = owner_of(skb);
	int due;

	if (owner && !(owner->flags & ACCEPTED) && !used && bpf_ktime_get_ns() - t->since < PATIENCE)
		return;
	bpf_spin_lock(&t->lock);
	due = t->known == WAITS;
	if (due)
		t->known = KNOWN;
	bpf_spin_unlock(&t->lock);
	if (!due)
		return;
	if (owner && volume)
		copy_owner(owner, &volume->flow);
	announce(skb, at, direction, IN, t->since);
}

static __always_inline void add_tcp(struct volume *volume, enum direction direction, const struct bytes *bytes,
				    __u32 packets)
{
	if (direction == OUT)
		volume->bytes[OUT] += bytes->out;
	volume->bytes[IN] += bytes->in;
	volume->packets[direction == IN] += packets;
}

/*
 * What is counted as sent is written while TCP sends, which has its socket locked then: by one CPU. All else is written
 * with the lock held. So no addition has to be atomic.
 */
static __always_inline void see_tcp(struct __sk_buff *skb, struct layout *at, enum direction direction,
				    struct traffic *t)
{
	__u32 zero = 0, packets = skb->gso_segs ?: 1, seq, end, rcv_nxt, snd_nxt, place;
	struct bpf_sock *sk = skb->sk;
	struct bpf_tcp_sock *tcp = sk ? bpf_tcp_sock(sk) : 0;
	enum known known = KNOWN;
	struct bytes bytes = {};
	struct volume *volume;
	const struct tcphdr *h;
	struct tcphdr room;
	__u64 received, now;
	void *active;
	int syn, fin, used, new = 0;

	h = part(skb, at->transport, &room, sizeof(room));
	if (!tcp || !h || !find_payload(skb, at, h->doff * 4))
		return;
	if (!t) { /* a process can use up what its socket may have (net.core.optmem_max) */
		count_uncounted(packets, at->payload_len);
		return;
	}
	/* In this order: tcp_rcv_nxt_update() writes them in it, so their sum is never too much. */
	received = tcp->bytes_received;
	rcv_nxt = tcp->rcv_nxt;
	snd_nxt = tcp->snd_nxt;
	syn = h->syn;
	fin = h->fin;
	used = fin || h->rst || (direction == OUT && at->payload_len);
	seq = bpf_ntohl(h->seq) + syn;
	end = seq + at->payload_len;
	if (direction == OUT && syn && !h->ack && t->known >= WAITS && t->begun != seq)
		forget(t, NEW); /* it was disconnected (connect() to AF_UNSPEC), and connects again */

	active = bpf_map_lookup_elem(&volumes, &zero);
	volume = volume_at(active, t->place, t->cookie);
	if (direction == OUT && volume && t->known == KNOWN && taken_in(t, received, rcv_nxt) == t->received) {
		count_sent(t, end, fin, &bytes);
		volume->bytes[OUT] += bytes.out;
		volume->packets[OUT] += packets;
		return;
	}
	if (!volume) {
		volume = new_volume(skb, at, direction, active, t->cookie, &place);
		if (volume)
			t->place = place;
	}
	now = t->known < WAITS ? bpf_ktime_get_ns() : 0;
	bpf_spin_lock(&t->lock);
	if (t->known < WAITS) {
		known = t->known;
		new = known == LISTENS || syn;
		t->known = known == LISTENS ? WAITS : KNOWN;
		t->since = now;
		t->begun = seq;
		/* What an accepted socket received with its first ACK went through its listener's hook. */
		t->received = new ? 0 : received;
		t->sent_next = direction == OUT && (__s32)(seq - snd_nxt) >= 0 ? seq : snd_nxt;
	}
	received = taken_in(t, received, rcv_nxt);
	if (direction == OUT) {
		count_sent(t, end, fin, &bytes);
	} else {
		if (seq == rcv_nxt) /* TCP is about to take it; what came out of order is counted by a later one */
			received += at->payload_len;
		if (fin) {
			t->fin_seen = 1;
			t->fin_next = end + 1;
		}
	}
	count_received(t, received, &bytes);
	if (volume)
		add_tcp(volume, direction, &bytes, packets);
	bpf_spin_unlock(&t->lock);

	if (!volume)
		count_uncounted(packets, bytes.out + bytes.in);
	if (new && known == NEW)
		announce(skb, at, direction, OUT, 0);
	else if (t->known == WAITS)
		announce_accepted(skb, at, direction, t, volume, used);
}

static __always_inline int is_same(const struct pair *one, const struct pair *other)
{
	return one->peer_port == other->peer_port && one->peer[0] == other->peer[0] && one->peer[1] == other->peer[1] &&
	       one->local[0] == other->local[0] && one->local[1] == other->local[1];
}

static __always_inline int is_between(const struct volume *volume, const struct pair *pair)
{
	const __u64 *local = (const __u64 *)volume->flow.s_ip, *peer = (const __u64 *)volume->flow.d_ip;

	return volume->flow.d_port == pair->peer_port && peer[0] == pair->peer[0] && peer[1] == pair->peer[1] &&
	       local[0] == pair->local[0] && local[1] == pair->local[1];
}

/* Where the socket's last volume is not between this pair: one from the table, or a new one; a new peer is announced. */
static __always_inline struct volume *volume_of_peer(struct __sk_buff *skb, const struct layout *at,
						     enum direction direction, void *active, struct traffic *t,
						     const struct peer *key)
{
	__u32 *known = bpf_map_lookup_elem(&peers, key), place = known ? *known : 0;
	struct volume *volume = volume_at(active, place, key->cookie);
	int same = 0;

	if (t) { /* else there is no room at the socket */
		bpf_spin_lock(&t->lock);
		same = t->known && is_same(&t->latest, &key->pair);
		t->known = KNOWN;
		t->latest = key->pair;
		bpf_spin_unlock(&t->lock);
	}
	if (!known && !same)
		announce(skb, at, direction, direction, 0);
	if (!volume || !is_between(volume, &key->pair)) {
		volume = new_volume(skb, at, direction, active, key->cookie, &place);
		if (volume || !known)
			bpf_map_update_elem(&peers, key, &place, BPF_ANY);
	}
	if (t)
		t->place = place;
	return volume;
}

static __always_inline int read_pair(struct __sk_buff *skb, const struct layout *at, enum direction direction,
				     struct pair *pair)
{
	__u64 *from = direction == OUT ? pair->local : pair->peer, *to = direction == OUT ? pair->peer : pair->local;
	__be16 ports[2];

	if (!read_part(skb, at->transport, ports, sizeof(ports)))
		return 0;
	pair->peer_port = bpf_ntohs(ports[direction == OUT]);
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		__be32 addresses[2];

		if (!read_part(skb, offsetof(struct iphdr, saddr), addresses, sizeof(addresses)))
			return 0;
		mapped((__u8 *)from, &addresses[0]);
		mapped((__u8 *)to, &addresses[1]);
	} else {
		__u64 addresses[4];

		if (!read_part(skb, offsetof(struct ipv6hdr, saddr), addresses, sizeof(addresses)))
			return 0;
		__builtin_memcpy(from, &addresses[0], 16);
		__builtin_memcpy(to, &addresses[2], 16);
	}
	return 1;
}

static __always_inline void see_udp(struct __sk_buff *skb, struct layout *at, enum direction direction,
				    struct traffic *t)
{
	__u32 zero = 0, packets = skb->gso_segs ?: 1;
	struct volume *volume;
	struct peer key = {};
	void *active;

	if (!find_payload(skb, at, sizeof(struct udphdr)) || !read_pair(skb, at, direction, &key.pair))
		return;
	key.cookie = t ? t->cookie : bpf_get_socket_cookie(skb);

	active = bpf_map_lookup_elem(&volumes, &zero);
	volume = t ? volume_at(active, t->place, key.cookie) : 0;
	if (!volume || !is_between(volume, &key.pair))
		volume = volume_of_peer(skb, at, direction, active, t, &key);
	if (!volume) {
		count_uncounted(packets, at->payload_len);
		return;
	}
	__sync_fetch_and_add(&volume->bytes[direction == IN], at->payload_len);
	__sync_fetch_and_add(&volume->packets[direction == IN], packets);
}

/*
 * A handshake passes through its listener. What that accepts gets a copy of what is noted here: so it is known to be new,
 * also by its first packet; any other connection is older than this program, unless its SYN was seen.
 */
static __always_inline void see_listener(struct bpf_sock *sk)
{
	struct traffic *t = bpf_sk_storage_get(&traffic, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (t && t->known != LISTENS)
		forget(t, LISTENS); /* it may have tried to connect before */
}

static __always_inline int is_seen(struct __sk_buff *skb, const struct layout *at)
{
	return (!only_proto || at->proto == only_proto) && (!only_ipv4 || skb->protocol == bpf_htons(ETH_P_IP));
}

static __always_inline int see(struct __sk_buff *skb, enum direction direction)
{
	struct bpf_sock *sk = skb->sk;
	struct owner *owner = 0;
	struct traffic *t;
	struct layout at;

	if (!sk || !on_device(skb, direction) || !find_transport(skb, &at) || !is_seen(skb, &at))
		return 1;
	if (at.proto == IPPROTO_TCP && sk->state == BPF_TCP_LISTEN) {
		see_listener(sk);
		return 1;
	}
	t = bpf_sk_storage_get(&traffic, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!t && !bpf_sk_fullsock(sk)) /* a handshake's, or one that waits for late packets */
		return 1;
	if (!t || t->known < WAITS) {
		owner = owner_of(skb);
		if (t) {
			t->cookie = bpf_get_socket_cookie(skb);
			if (is_own(owner))
				t->known = OWN;
		}
	}
	if (t ? t->known == OWN : is_own(owner))
		return 1;
	if (at.proto == IPPROTO_UDP)
		see_udp(skb, &at, direction, t);
	else
		see_tcp(skb, &at, direction, t);
	return 1;
}

SEC("cgroup_skb/egress")
int network_egress(struct __sk_buff *skb)
{
	return see(skb, OUT);
}

SEC("cgroup_skb/ingress")
int network_ingress(struct __sk_buff *skb)
{
	return see(skb, IN);
}
