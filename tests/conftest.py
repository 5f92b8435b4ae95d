import os
import signal

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models: threads that wait for each other cost more than they bring

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background job; the tools would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread():
    import torch

    torch.set_num_threads(1)
