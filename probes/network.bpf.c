// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Connections as events; bytes and packets counted per socket and peer, and read by the user side at an interval.
 *
 * What counts is payload as the application knows it. Sent over TCP: each sequence number once. Received over TCP: what
 * TCP itself took in order (bpf_tcp_sock), so neither retransmissions nor a peer's wild sequence numbers are counted.
 * The counts go to one of two maps; the user side swaps them and then empties the one that nobody writes to any more.
 */
#include "flow.h"

EVENT(flow);

struct volume_key {
	__u64 cookie;
	__u64 peer[2], local[2]; /* UDP: a socket may have many; TCP: 0 */
	__u16 peer_port;
	__u16 unused[3];
};

struct volume {
	struct flow flow; /* of the first packet in this interval */
	__u64 bytes[2];   /* by direction */
	__u64 packets[2];
};

struct volumes {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct volume_key);
	__type(value, struct volume);
} volumes_a SEC(".maps"), volumes_b SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct volumes);
} volumes SEC(".maps") = { .values = { [0] = &volumes_a } };

struct traffic {
	struct bpf_spin_lock lock; /* a socket may send on one CPU while it receives on another */
	__u32 announced;           /* its connection event is out, or none is due */
	__u32 sent_next;           /* TCP: sequence number after the last byte that was counted */
	__u32 fin_next;            /* TCP: sequence number after the peer's FIN, which TCP counts as a byte received */
	__u64 received;            /* TCP: bytes that were counted */
	__u64 peer[2], local[2];   /* UDP: the latest ends, whose connection event is out */
	__u16 peer_port;
	__u8 fin_seen;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct traffic);
} traffic SEC(".maps");

/* UDP sockets with many peers: those whose connection event is out. One that was forgotten is announced again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct volume_key);
	__type(value, __u8);
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

static __always_inline void add(struct __sk_buff *skb, const struct layout *at, enum direction direction,
				const struct owner *owner, const struct volume_key *key, const struct bytes *bytes)
{
	__u32 zero = 0, packets = skb->gso_segs ?: 1;
	void *active = bpf_map_lookup_elem(&volumes, &zero);
	struct volume *volume = active ? bpf_map_lookup_elem(active, key) : 0;

	if (!volume && active) {
		struct volume new = {};

		if (!read_ends(skb, at, direction, &new.flow))
			return;
		read_owner(skb, owner, &new.flow);
		bpf_map_update_elem(active, key, &new, BPF_NOEXIST); /* another CPU's will do as well */
		volume = bpf_map_lookup_elem(active, key);
	}
	if (volume) {
		if (bytes->out)
			__sync_fetch_and_add(&volume->bytes[OUT], bytes->out);
		if (bytes->in)
			__sync_fetch_and_add(&volume->bytes[IN], bytes->in);
		__sync_fetch_and_add(&volume->packets[direction == IN], packets);
	} else {
		count_uncounted(packets, bytes->out + bytes->in);
	}
}

/* A connection is told from the side that began it: `begun` is OUT where the socket's own process did. */
static __always_inline void announce(struct __sk_buff *skb, const struct layout *at, enum direction direction,
				     enum direction begun, const struct owner *owner)
{
	struct flow packet, flow;

	if (!read_ends(skb, at, direction, &packet))
		return;
	read_owner(skb, owner, &packet);
	flow = packet;
	if (begun != direction) {
		__builtin_memcpy(flow.s_ip, packet.d_ip, sizeof(flow.s_ip));
		__builtin_memcpy(flow.d_ip, packet.s_ip, sizeof(flow.d_ip));
		flow.s_port = packet.d_port;
		flow.d_port = packet.s_port;
		flow.direction = begun;
	}
	hand_over(skb, &flow);
}

static __always_inline void see_tcp(struct __sk_buff *skb, struct bpf_sock *sk, struct layout *at,
				    enum direction direction, struct owner *owner)
{
	struct volume_key key = {};
	struct bytes bytes = {};
	struct bpf_tcp_sock *tcp;
	struct traffic *t;
	struct tcphdr h;
	__u64 received;
	__u32 seq, rcv_nxt, snd_nxt;
	int before, first;

	if (!read_part(skb, at->transport, &h, sizeof(h)) || !find_payload(skb, at, h.doff * 4))
		return;
	tcp = bpf_tcp_sock(sk);
	if (!tcp)
		return;
	/* In this order: tcp_rcv_nxt_update() writes them in it, so the sum below is never too much. */
	received = tcp->bytes_received;
	rcv_nxt = tcp->rcv_nxt;
	snd_nxt = tcp->snd_nxt;
	seq = bpf_ntohl(h.seq) + h.syn;
	before = !h.syn && (!owner || owner->flags & OWNER_CONNECTED_BEFORE);

	t = bpf_sk_storage_get(&traffic, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!t) { /* a process can use up what its socket may have (net.core.optmem_max) */
		count_uncounted(skb->gso_segs ?: 1, at->payload_len);
		return;
	}
	bpf_spin_lock(&t->lock);
	first = !t->announced;
	if (first) {
		t->announced = 1;
		/* What an accepted socket received with its first ACK went through its listener's hook. */
		t->received = before ? received : 0;
		t->sent_next = direction == OUT && (__s32)(seq - snd_nxt) >= 0 ? seq : snd_nxt;
	}
	if (t->fin_seen && rcv_nxt == t->fin_next)
		received--;
	if (direction == OUT) {
		__s32 new = seq + at->payload_len - t->sent_next;

		if (new > 0)
			bytes.out = new;
		if (new >= 0)
			t->sent_next += new + h.fin;
	} else {
		if (seq == rcv_nxt) /* TCP is about to take it; what came out of order is counted by a later packet */
			received += at->payload_len;
		if (h.fin) {
			t->fin_seen = 1;
			t->fin_next = seq + at->payload_len + 1;
		}
	}
	if (received > t->received) {
		bytes.in = received - t->received;
		t->received = received;
	}
	bpf_spin_unlock(&t->lock);

	if (first && !before)
		announce(skb, at, direction,
			 (owner && owner->flags & OWNER_CONNECTS) || (h.syn && direction == OUT) ? OUT : IN, owner);
	key.cookie = bpf_get_socket_cookie(skb);
	add(skb, at, direction, owner, &key, &bytes);
}

static __always_inline void see_udp(struct __sk_buff *skb, struct bpf_sock *sk, struct layout *at,
				    enum direction direction, struct owner *owner)
{
	struct volume_key key = {};
	struct bytes bytes = {};
	struct traffic *t;
	struct flow flow;
	__u8 one = 1;
	int same;

	if (!find_payload(skb, at, sizeof(struct udphdr)) || !read_ends(skb, at, direction, &flow))
		return;
	key.cookie = bpf_get_socket_cookie(skb);
	__builtin_memcpy(key.peer, direction == OUT ? flow.d_ip : flow.s_ip, sizeof(key.peer));
	__builtin_memcpy(key.local, direction == OUT ? flow.s_ip : flow.d_ip, sizeof(key.local));
	key.peer_port = direction == OUT ? flow.d_port : flow.s_port;

	t = bpf_sk_storage_get(&traffic, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (t) {
		bpf_spin_lock(&t->lock);
		same = t->announced && t->peer_port == key.peer_port && t->peer[0] == key.peer[0] &&
		       t->peer[1] == key.peer[1] && t->local[0] == key.local[0] && t->local[1] == key.local[1];
		if (!same) {
			t->announced = 1;
			t->peer_port = key.peer_port;
			t->peer[0] = key.peer[0];
			t->peer[1] = key.peer[1];
			t->local[0] = key.local[0];
			t->local[1] = key.local[1];
		}
		bpf_spin_unlock(&t->lock);
	} else { /* no room at the socket: it is looked up in the table each time */
		same = 0;
	}
	if (!same && !bpf_map_update_elem(&peers, &key, &one, BPF_NOEXIST)) /* fails where the peer is known */
		announce(skb, at, direction, direction, owner);

	if (direction == OUT)
		bytes.out = at->payload_len;
	else
		bytes.in = at->payload_len;
	add(skb, at, direction, owner, &key, &bytes);
}

static __always_inline int see(struct __sk_buff *skb, enum direction direction)
{
	struct bpf_sock *sk = skb->sk;
	struct owner *owner;
	struct layout at;

	sk = sk ? bpf_sk_fullsock(sk) : 0;
	if (!sk || !on_interface(skb, direction) || !find_transport(skb, &at))
		return 1;
	owner = bpf_sk_storage_get(&owners, sk, 0, 0);
	if (is_own(owner))
		return 1;
	if (at.proto == IPPROTO_UDP) {
		see_udp(skb, sk, &at, direction, owner);
	} else if (sk->state != BPF_TCP_LISTEN) {
		see_tcp(skb, sk, &at, direction, owner);
	} else if (owner) {
		owner->flags &= ~OWNER_CONNECTS; /* it may have tried to, before it listened */
	} else {
		/* A handshake passes through the listener. What it accepts inherits this note, and so is known to be new. */
		bpf_sk_storage_get(&owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	}
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
