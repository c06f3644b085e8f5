# Node.js since 7.3: one variable, read when the program starts. It adds to the authorities that Node has.
# (Software that sets `ca` in its requests itself ignores it; so does a setuid program.)
export NODE_EXTRA_CA_CERTS={ca}
