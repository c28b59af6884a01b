import numpy as np

from idiolect.types import Call, Steer

ASK = ({"role": "user", "content": "x"},)


def soft(*values):
    return Call(ASK, soft_prompt=np.array([values], np.float32))


def test_calls_with_arrays_are_equal_by_value():
    assert soft(1, 2) == soft(1, 2)
    assert soft(1, 2) != soft(1, 3)
    assert soft(1, 2) != soft(1, 2, 3)
    assert soft(1, 2) != Call(ASK)
    assert Call(ASK) != soft(1, 2)
    assert Call(ASK) == Call(ASK)
    assert Call(ASK) != ASK


def test_steering_too():
    def steered(value):
        return Call(ASK, steering=(Steer(1, np.full(2, value, np.float32)),))

    assert steered(1.0) == steered(1.0)
    assert steered(1.0) != steered(2.0)
    assert Steer(1, np.ones(2, np.float32)) != Steer(1, np.ones(2, np.float32), along=True)
