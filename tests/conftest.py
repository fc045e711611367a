"""One thread: the tests are small, and threads that wait for each other cost more than they give. A cache of their own."""

import os
import tempfile

import torch

torch.set_num_threads(1)
os.environ["SFUMATO_CACHE"] = tempfile.mkdtemp(prefix="sfumato-cache-")
