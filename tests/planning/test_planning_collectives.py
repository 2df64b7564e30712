"""Collectives between devices, parsed from compiled programs."""

from xception_jax.planning.collectives import read_collectives

# Excerpts of programs that libtpu 0.0.42 compiled for v5e:4x4.
TPU = """
ENTRY %main.0_spmd (param.1: f32[64,1024]) -> f32[] {
  %all-reduce.396 = (f32[32]{0:T(128)S(1)}, bf16[1,1,728,1024]{3,2,1,0:T(8,128)(2,1)}) all-reduce(\
%fusion.166, %fusion.167), channel_id=1, replica_groups={{0,1,2,3},{4,5,6,7}}, \
use_global_device_ids=true, to_apply=%region_3.5, metadata={op_name="jit(f)/shard_map/psum"}
  %gte.1 = f32[32]{0:T(128)S(1)} get-tuple-element(%all-reduce.396), index=0
  %done = f32[8]{0} all-reduce-done(%all-reduce-start.1)
}
"""
STARTED = """
  %ar = f32[8]{0} all-reduce-start(%x), replica_groups=[1,16]<=[16], to_apply=%add
  %ag = (bf16[2,4]{1,0}, bf16[32,4]{1,0}) all-gather-start(%x), replica_groups=[1,16]<=[16]
  %cp = (f32[6]{0}, f32[6]{0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%x)
  %rs = f32[2,5]{1,0} reduce-scatter(%x), replica_groups=[4,4]<=[16], dimensions={0}
"""


def test_every_array_of_a_collective_counts_once_with_its_size_and_its_devices():
    first, second = read_collectives(TPU, devices=16)
    assert (first.kind, first.shape, first.devices) == ("all-reduce", (32,), 4)
    assert (second.dtype, second.bytes) == ("bf16", 728 * 1024 * 2)
    assert second.sent_bytes == 2 * second.bytes * 3 / 4  # a ring of four: twice three quarters
    assert str(first) == "all-reduce of f32[32] from jit(f)/shard_map/psum"


def test_asynchronous_and_scattered_collectives_count_what_they_end_with():
    collectives = read_collectives(STARTED, devices=16)
    by_kind = {collective.kind: collective for collective in collectives}
    assert len(by_kind) == len(collectives) == 4
    gather, permute, scatter = (
        by_kind[kind] for kind in ("all-gather", "collective-permute", "reduce-scatter")
    )
    assert gather.shape == (32, 4)
    assert gather.sent_bytes == 32 * 4 * 2 * 15 / 16
    assert (permute.bytes, permute.sent_bytes) == (24, 24)
    assert (scatter.shape, scatter.devices) == ((8, 5), 4)
