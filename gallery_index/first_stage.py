"""stub"""
import numpy as np
class FirstStage:
    def __init__(self, quantizer): self.quantizer = quantizer; self.kind = quantizer.kind; self._c = np.zeros((0, quantizer.code_size), np.uint8)
    def __len__(self): return len(self._c)
    @property
    def bytes_used(self): return self._c.nbytes
    def add_codes(self, c): self._c = np.concatenate([self._c, c])
    def add(self, v): self.add_codes(self.quantizer.encode(v))
    def erase(self, p): self._c[p] = 0
    def replace(self, p, c): self._c[p] = c
    def codes(self, a, b): return self._c[a:b]
    def kept(self, p):
        s = FirstStage(self.quantizer); s._c = self._c[p].copy(); return s
    def decode(self, p): return self._c[p].view(np.float16).astype(np.float32)
    def margin(self, q): return 1e-4
    def candidates(self, q, n, mask):
        s = self._c.view(np.float16).astype(np.float32) @ q if len(self) else np.zeros(0, np.float32)
        if mask is not None: s = np.where(mask, s, -9)
        o = np.argsort(-s, kind="stable")[:n]
        if mask is not None: o = o[mask[o]]
        return o.astype(np.int64), s[o]
