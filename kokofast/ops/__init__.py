"""Operations on the kernel: one module each, with what it does, undoes, blames and shows. Blocking; threads call it."""
