"What the tests of importers share: hostile objects, a careful reader to compare with, errors."

import pickle

import pytest

from carat.core import CaratError


def message(f, *args, **options) -> str:
    "What the error says that a call must end with."
    with pytest.raises(CaratError) as e:
        f(*args, **options)
    return str(e.value)


class Call:
    "An object whose pickle calls a function when it is opened."

    def __init__(self, f, *args):
        self.f, self.args = f, args

    def __reduce__(self):
        return self.f, self.args


class Careful(pickle._Unpickler):  # the one in Python, which raises where C might not
    "Python's own reader, for the names that the tests write."

    names = {
        "numpy": ("ndarray", "dtype"),
        "numpy._core.multiarray": ("_reconstruct", "scalar"),
        "numpy._core.numeric": ("_frombuffer",),
        "_codecs": ("encode",),
        "argparse": ("Namespace",),
        "collections": ("OrderedDict",),
        "copy_reg": ("_reconstructor",),
        "__builtin__": ("object",),
    }

    def find_class(self, module, name):
        if name not in self.names.get(module, ()):
            raise pickle.UnpicklingError(name)
        return super().find_class(module, name)
