"""Counts on the one GPU it sees until the named file exists, by the driver's own library."""

import ctypes
import os
import sys
import time

THREADS, ROUNDS, MIB = 256 * 1024, 10_000, 1024
KERNEL = b"""
.version 6.0
.target sm_50
.address_size 64
.visible .entry count(.param .u64 numbers, .param .u32 rounds) {
  .reg .pred %more;
  .reg .b32 %r<6>;
  .reg .b64 %d<2>;
  ld.param.u64 %d0, [numbers];
  ld.param.u32 %r0, [rounds];
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ntid.x;
  mov.u32 %r3, %tid.x;
  mad.lo.u32 %r1, %r1, %r2, %r3;
  mul.wide.u32 %d1, %r1, 4;
  cvta.to.global.u64 %d0, %d0;
  add.u64 %d0, %d0, %d1;
  mov.u32 %r4, 0;
again:
  ld.volatile.global.u32 %r5, [%d0];
  add.u32 %r5, %r5, 1;
  st.volatile.global.u32 [%d0], %r5;
  add.u32 %r4, %r4, 1;
  setp.lt.u32 %more, %r4, %r0;
  @%more bra again;
  ret;
}
\0"""

cuda = ctypes.CDLL("libcuda.so.1")


def ask(name, *args):
    code = getattr(cuda, name)(*args)
    if code:
        sys.exit(f"{name} says {code}")


ask("cuInit", 0)
count, device, context, module, kernel = ctypes.c_int(), ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
ask("cuDeviceGetCount", ctypes.byref(count))
if count.value != 1:
    sys.exit(f"it sees {count.value} GPUs")
name, numbers = ctypes.create_string_buffer(100), ctypes.c_uint64()
ask("cuDeviceGet", ctypes.byref(device), 0)
ask("cuDeviceGetName", name, len(name), device)
ask("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
ask("cuCtxSetCurrent", context)
ask("cuModuleLoadData", ctypes.byref(module), KERNEL)
ask("cuModuleGetFunction", ctypes.byref(kernel), module, b"count")
ask("cuMemAlloc_v2", ctypes.byref(numbers), ctypes.c_size_t(MIB << 20))
ask("cuMemsetD32_v2", numbers, 0, ctypes.c_size_t(THREADS))
rounds, launches, began = ctypes.c_uint32(ROUNDS), 0, time.monotonic()
print(f"counts on {name.value.decode()}, {os.environ['CUDA_VISIBLE_DEVICES']}", flush=True)
print(f"share {os.environ.get('MUSTER_GPU_SHARE', 'of none')}, {os.environ.get('MUSTER_GPU_MEMORY_MIB', 'all')} MiB")
arguments = (ctypes.c_void_p * 2)(ctypes.addressof(numbers), ctypes.addressof(rounds))
while not launches or not os.path.exists(sys.argv[1]):
    if time.monotonic() > began + 600:
        sys.exit("nobody has stopped it")
    ask("cuLaunchKernel", kernel, THREADS // 256, 1, 1, 256, 1, 1, 0, None, arguments, None)
    ask("cuCtxSynchronize")
    launches += 1
counted = (ctypes.c_uint32 * THREADS)()
ask("cuMemcpyDtoH_v2", counted, numbers, ctypes.c_size_t(ctypes.sizeof(counted)))
if set(counted) != {launches * ROUNDS % 2**32}:
    sys.exit(f"{launches} times {ROUNDS} rounds are counted as {sorted(set(counted))[:5]}")
print("counted right")
