"""The cells of chapter 3, Autograd (see lessons/README.md)."""

# %% forward
x, w, b, t = 2.0, 3.0, 1.0, 5.0  # input, weight, bias, target

u = x * w
v = u + b
e = v - t
L = e * e
print(u, v, e, L)

# %% backward-by-hand
dL = 1.0
de = dL * 2 * e  # L = e²
dv = de * 1  # e = v − t
du = dv * 1  # v = u + b
db = dv * 1
dx = du * w  # u = x w
dw = du * x
print("de, dv, du, db =", de, dv, du, db)
print("dx, dw =", dx, dw)

# %% graph hide-input
def box(ax, place, name, value, gradient, colour):
    circle = {"boxstyle": "circle,pad=0.35", "fc": colour, "ec": "0.3"}
    ax.text(*place, name, ha="center", va="center", fontsize=13, bbox=circle)
    ax.text(place[0], place[1] + 0.42, value, ha="center", color="tab:blue", fontsize=11)
    ax.text(place[0], place[1] - 0.55, gradient, ha="center", color="tab:red", fontsize=11)


places = {"w": (0, 0), "b": (1.6, 0), "t": (3.2, 0)}
places |= {"x": (0, 1.6), "u": (1.6, 1.6), "v": (3.2, 1.6), "e": (4.8, 1.6), "L": (6.4, 1.6)}
values = {"x": x, "w": w, "b": b, "t": t, "u": u, "v": v, "e": e, "L": L}
gradients = {"x": dx, "w": dw, "b": db, "t": -de, "u": du, "v": dv, "e": de, "L": dL}

fig, ax = plt.subplots(figsize=(5.8, 3.0))
arrow = {"arrowstyle": "-|>", "shrinkA": 17, "shrinkB": 17, "color": "0.4"}
for start, end in ["xu", "wu", "uv", "bv", "ve", "te", "eL"]:
    ax.annotate("", places[end], places[start], arrowprops=arrow)
for name, place in places.items():
    colour = "white" if name in "xwbt" else "0.92"
    box(ax, place, f"${name}$", f"{values[name]:g}", f"{gradients[name]:g}", colour)
ax.text(0.8, 2.5, "forward: values →", color="tab:blue", ha="center")
ax.text(5.6, 0.35, "← backward: ∂L/∂·", color="tab:red", ha="center")
ax.set(xlim=(-0.6, 7), ylim=(-0.9, 2.8))
ax.axis("off")
plt.show()

# %% value
class Value:
    """A number that remembers how it was made."""

    def __init__(self, data, parents=(), derivative=lambda dz: ()):
        self.data, self.grad = data, 0.0
        # derivative: dz → the cotangents of the parents
        self.parents, self.derivative = parents, derivative

    def __add__(self, other):
        return Value(self.data + other.data, (self, other), lambda dz: (dz, dz))

    def __mul__(self, other):
        x, y = self.data, other.data
        return Value(x * y, (self, other), lambda dz: (dz * y, dz * x))

    def backward(self):
        self.grad = 1.0
        for node in reversed(topological_order(self, {})):
            for parent, cotangent in zip(node.parents, node.derivative(node.grad)):
                parent.grad += cotangent


def topological_order(node, order):
    """Add all nodes below this one to `order`, each before its consumers."""
    for parent in node.parents:
        if parent not in order:
            topological_order(parent, order)
    order[node] = True  # a dictionary keeps the order in which it was filled
    return order

# %% value-run
x, w, b, minus_t = Value(2.0), Value(3.0), Value(1.0), Value(-5.0)
e = x * w + b + minus_t
L = e * e
L.backward()
print("L =", L.data)
print("dx, dw, db =", x.grad, w.grad, b.grad)

# %% engine-run
from minilm.tensor import Tensor

x, w, b = (Tensor(value, requires_grad=True) for value in (2.0, 3.0, 1.0))
L = (x * w + b - 5.0) ** 2
L.backward()
print("L =", L.item())
print("dx, dw, db =", x.grad, w.grad, b.grad)

# %% diamond
def backward_on_arrival(root):
    """WRONG: hands a cotangent on as soon as a node is reached for the first time."""
    root.grad = 1.0
    queue, seen = [root], {root}
    while queue:
        node = queue.pop(0)
        for parent, cotangent in zip(node.parents, node.derivative(node.grad)):
            parent.grad += cotangent
            if parent not in seen:
                seen.add(parent)
                queue.append(parent)


def diamond():
    x = Value(2.0)
    a = x * x
    b = a * Value(3.0)
    return x, a, b, a + b  # 4 x²


x, a, b, y = diamond()
backward_on_arrival(y)
print("on arrival:        dy/dx =", x.grad)
hasty = {"y": y, "a": a, "b": b, "x": x}

x, a, b, y = diamond()
y.backward()
print("topological order: dy/dx =", x.grad)
patient = {"y": y, "a": a, "b": b, "x": x}

# %% diamond-plot hide-input
places = {"x": (0, 0.9), "a": (1.6, 0.9), "b": (3.0, 1.9), "y": (4.4, 0.9)}
lines = [("x", "a", 0.18), ("x", "a", -0.18), ("a", "b", 0.0), ("a", "y", 0.0), ("b", "y", 0.0)]
fig, axes = plt.subplots(1, 2, figsize=(5.8, 2.5), layout="constrained")
panels = [("on arrival", hasty, "yabx"), ("topological order", patient, "ybax")]
for ax, (title, nodes, order) in zip(axes, panels):
    for start, end, bend in lines:
        bent = {"connectionstyle": f"arc3,rad={bend}", "arrowstyle": "-|>", "shrinkA": 15, "shrinkB": 15}
        ax.annotate("", places[end], places[start], arrowprops=bent | {"color": "0.4"})
    for turn, name in enumerate(order, 1):
        late = nodes is hasty and name == "a"  # it spoke before the 3 had come
        gradient = "1, then +3" if late else f"{nodes[name].grad:g}"
        box(ax, places[name], f"${name}$", f"({turn})", gradient, "0.92" if name != "x" else "white")
    ax.set(title=title, xlim=(-0.6, 5), ylim=(-0.1, 2.9))
    ax.axis("off")
plt.show()

# %% paths hide-input
def calls_along_paths(node):
    """Recurse into every parent, every time: one call for each path."""
    return 1 + sum(calls_along_paths(parent) for parent in node.parents)


depths = list(range(1, 17))
paths, nodes = [], []
for depth in depths:
    y = Value(1.0)
    for _ in range(depth):
        y = y + y
    paths.append(calls_along_paths(y))
    nodes.append(len(topological_order(y, {})))

fig, ax = plt.subplots()
ax.semilogy(depths, paths, "o-", color="tab:red", label="path by path")
ax.semilogy(depths, nodes, "o-", color="tab:blue", label="topological order")
ax.set(xlabel="doublings y = y + y", ylabel="calls of a derivative")
ax.legend()
plt.show()

# %% deep
y = Value(1.0)
for _ in range(5000):
    y = y + Value(0.001)
try:
    y.backward()
except RecursionError as error:
    print("Value: RecursionError,", error)

x = Tensor(1.0, requires_grad=True)
y = x
for _ in range(5000):
    y = y + 0.001
y.backward()
print("minilm: dy/dx =", x.grad)

# %% add-or-set
import numpy as np

x = np.array([1.0, 2.0, 3.0])
dz = np.ones(3)
# what z = x · x sends to its left and to its right operand
first, second = dz * x, dz * x
print("last one wins:", second)
print("added:        ", first + second)

# %% repeated
table = Tensor(np.zeros((4, 2)), requires_grad=True)
row_ids = [1, 3, 1, 1]
chosen = table[np.array(row_ids)]  # (4, 2): row 1 three times
chosen.sum().backward()
print(table.grad)

# %% broadcasting
X = Tensor(np.arange(6.0).reshape(3, 2))
bias = Tensor(np.array([10.0, 20.0]), requires_grad=True)
Y = X + bias  # (3, 2) + (2,)
dY = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
Y.backward(dY)
print("dY   =", dY.tolist())
print("dbias =", bias.grad)

# %% forgotten-unbroadcast
from minilm.tensor import record


def careless_add(x, y):
    # WRONG for y, which was repeated along the rows
    return record(x.data + y.data, (x, y), lambda dz: (dz, dz))


try:
    careless_add(X, bias).backward(dY)
except RuntimeError as error:
    print(error)

# %% slope
def central(f, x, h):
    return (f(x + h) - f(x - h)) / (2 * h)


def forward_only(f, x, h):
    return (f(x + h) - f(x)) / h


true_slope = 1 - np.tanh(1.0) ** 2
print("tanh'(1) =", true_slope)
print("h = 0.1  ", central(np.tanh, 1.0, 0.1))
print("h = 1e-5 ", central(np.tanh, 1.0, 1e-5))
print("h = 1e-14", central(np.tanh, 1.0, 1e-14))

# %% step-plot hide-input
steps = 10.0 ** np.arange(-15, 0.01, 0.25)
fig, ax = plt.subplots()
kinds = [
    ("forward difference, float64", forward_only, np.float64),
    ("central difference, float64", central, np.float64),
    ("central difference, float32", central, np.float32),
]
for label, difference, dtype in kinds:
    one = dtype(1.0)
    felt = [h for h in steps if one + dtype(h) != one]
    slopes = [float(difference(np.tanh, one, dtype(h))) for h in felt]
    ax.loglog(felt, np.abs(np.array(slopes) - true_slope), ".-", label=label)
ax.set(xlabel="step $h$", ylabel="error of the slope", ylim=(1e-13, 3))
ax.legend(fontsize=8, loc="lower left")
plt.show()

# %% gradient-check
def numerical_gradient(f, x, cotangent, h=1e-6):
    """dL/dx for L = Σ cotangent ⊙ f(x), by central differences."""
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = h
        gradient[i] = ((f(x + step) - f(x - step)) * cotangent).sum() / (2 * h)
    return gradient


def worst_error(operation, x, cotangent):
    """The largest difference between the derivative of an operation and the numbers."""
    tensor = Tensor(x, requires_grad=True)
    operation(tensor).backward(cotangent)
    expected = numerical_gradient(lambda a: operation(Tensor(a)).data, x, cotangent)
    return np.abs(tensor.grad - expected).max()


rng = np.random.default_rng(0)
x = rng.standard_normal((3, 4))
for name in ("exp", "tanh", "softmax"):
    cotangent = rng.standard_normal((3, 4))
    print(f"{name:8}", worst_error(lambda a: getattr(a, name)(), x, cotangent))

# %% wrong-softmax
def wrong_softmax(x):
    e = np.exp(x.data - x.data.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)

    def backward(dy):
        # WRONG: the mean is not weighted by y
        return (y * (dy - dy.mean(axis=-1, keepdims=True)),)

    return record(y, (x,), backward)

# %% trap
ones = np.ones((3, 4))
random = rng.standard_normal((3, 4))
print("checked with y.sum():            error", worst_error(wrong_softmax, x, ones))
print("checked with a random cotangent: error", worst_error(wrong_softmax, x, random))

# %% own-operation
def softplus(x):
    """y = ln(1 + e^x)."""
    y = np.logaddexp(0, x.data)

    def backward(dy):
        return (dy / (1 + np.exp(-x.data)),)  # dy/dx = 1/(1 + e^−x)

    return record(y, (x,), backward)


print("error:", worst_error(softplus, x, random))

# %% solution-tanh
def tanh(x):
    y = np.tanh(x.data)
    return record(y, (x,), lambda dy: (dy * (1 - y * y),))


print("error:", worst_error(tanh, x, random))

# %% solution-normalize
def normalize(x):
    """y = x / ‖x‖ along the last axis."""
    norm = np.sqrt((x.data**2).sum(axis=-1, keepdims=True))
    y = x.data / norm

    def backward(dy):
        return ((dy - y * (dy * y).sum(axis=-1, keepdims=True)) / norm,)

    return record(y, (x,), backward)


print("error with a random cotangent:", worst_error(normalize, x, random))
y = normalize(Tensor(x)).data
gradient = numerical_gradient(lambda a: normalize(Tensor(a)).data, x, y)
print("largest gradient with y as the cotangent:", np.abs(gradient).max())
