"""Kernels that need not import what all notebooks import.

Half the time that a short notebook takes is the import of PyTorch and its like. On Linux the
kernels are therefore forked from a process that has imported them, and nothing of this project.
All else about a kernel, from its messages to its end, is as jupyter_client has it."""

import os
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint, version
from multiprocessing import current_process, get_context

from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

IMPORTED = (
    "ipykernel.kernelapp",
    "torch",
    "sklearn.metrics",
    "pandas",
    "scipy.stats",
    "h5py",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
)


def use_forked_kernels():
    "Fork the kernels that this process starts from now on, where the system can."
    if sys.platform != "linux":
        return
    # what an optimiser imports, but not where it could talk to a GPU's driver before the fork
    more = ["torch._dynamo"] if version("torch").endswith("+cpu") else []
    get_context("forkserver").set_forkserver_preload([*IMPORTED, *more])
    # as ipykernel does before it imports anything
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    factory = KernelProvisionerFactory.instance()
    factory.provisioners["forked"] = EntryPoint("forked", f"{__name__}:Forked", factory.GROUP_NAME)
    factory.default_provisioner_name = "forked"


class Forked(LocalProvisioner):
    "Starts kernels by forking."

    async def launch_kernel(self, cmd, **how):
        given = cmd[cmd.index("-f") :], how["cwd"], how["env"]
        made = get_context("forkserver").Process(target=kernel, args=given, daemon=True)
        self.process = Process(made)
        self.pid = self.pgid = self.process.pid
        return self.connection_info


class Process:
    "A process of multiprocessing, started, with methods of `subprocess.Popen`."

    stdin = stdout = stderr = None

    def __init__(self, process):
        self.process = process
        self.process.start()
        self.pid = self.process.pid

    def poll(self):
        return self.process.exitcode

    def wait(self, timeout=None):
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired(self.process.name, timeout)
        return self.process.exitcode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def kernel(arguments, folder, env):
    "What the forked process does."
    from ipykernel.kernelapp import launch_new_instance

    os.setsid()  # a signal for the builder is none for its kernels
    current_process().daemon = False  # a notebook may start processes
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"  # it ends when that process does
    launch_new_instance(argv=[*arguments, parent])
