/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a probe is written with, where it is compiled once, for every kernel (CO-RE): libbpf's headers.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/ptrace.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";
