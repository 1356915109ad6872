# ESP in the kernel: the package's defaults are right.
{}
