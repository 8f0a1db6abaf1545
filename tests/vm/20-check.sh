#: since 5.17
# The hooks of this kernel: the live table must work.
netstat-bpf check
