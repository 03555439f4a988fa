"""The cells of chapter 7, a GPT from nothing (see lessons/README.md)."""

# %% data
import numpy as np

from minilm.data import RandomWindows, SequentialWindows, open_corpus
from minilm.text import CharacterTokenizer

text = open_corpus("python-reference").read()
tokenizer = CharacterTokenizer.train([text])
ids = tokenizer.encode_array(text)
cut = int(0.9 * len(ids))
training, validation = ids[:cut], ids[cut:]
print(f"{len(text):,} characters, {tokenizer.vocab_size} different ones")
print(repr(text[2000:2060]))
print(ids[2000:2020])

# %% windows
batches = RandomWindows(training, 16, 64, np.random.default_rng(0))
inputs, targets = batches.next_batch()  # each (16, 64)
print("inputs: ", repr(tokenizer.decode(inputs[0, :30])))
print("targets:", repr(tokenizer.decode(targets[0, :30])))

# %% shift hide-input
fig, ax = plt.subplots(figsize=(5.8, 1.7))
shown = 9
rows = [("input", inputs, "tab:blue"), ("target", targets, "tab:red")]
for row, (name, tokens, colour) in enumerate(rows):
    frame = {"boxstyle": "square,pad=0.3", "fc": "white", "ec": colour}
    ax.text(-0.8, -row, name, ha="right", va="center", color=colour)
    for i in range(shown):
        letter = repr(tokenizer.decode(tokens[0, i : i + 1]))[1:-1]
        ax.text(i, -row, letter, ha="center", va="center", family="monospace", bbox=frame)
for i in range(shown):
    ax.annotate("", (i, -0.72), (i, -0.28), arrowprops={"arrowstyle": "->", "color": "0.5"})
ax.set(xlim=(-2.2, shown - 0.4), ylim=(-1.5, 0.5))
ax.axis("off")
plt.show()

# %% chain-rule
word = "abracadabra"
P_a = word.count("a") / len(word)  # 5 of 11 letters
P_b = word.count("ab") / word[:-1].count("a")  # 2 of the 4 a's that something follows
print(f"P(a) = {P_a:.4f}   P(b | a) = {P_b:.4f}   P(ab) = {P_a * P_b:.4f}")

# %% perplexity-by-hand
# what a model gave each of four tokens
probabilities = np.array([0.5, 0.25, 0.125, 0.5])
losses = -np.log(probabilities)
loss = losses.mean()
print("−ln P:", losses.round(4))
print("loss:", loss.round(4), "  perplexity:", np.exp(loss).round(4))

# %% perplexity-engine
from minilm import functional as F
from minilm.metrics import perplexity

logits = np.zeros((4, 3))
logits[:, 0] = np.log(probabilities)  # token 0 gets P, the two others share 1 − P
logits[:, 1:] = np.log((1 - probabilities) / 2)[:, None]
loss = F.cross_entropy(logits, np.zeros(4, dtype=int)).item()
print("loss:", round(loss, 4), "  perplexity:", round(perplexity(loss), 4))

# %% references
from minilm.models import BigramModel

# + 1: no character is impossible
frequencies = np.bincount(training, minlength=tokenizer.vocab_size) + 1
unigram = -np.log(frequencies / frequencies.sum())[validation].mean()
references = {
    "uniform": np.log(tokenizer.vocab_size),
    "frequencies": unigram,
    "bigram": BigramModel.fit(training, tokenizer.vocab_size).loss(validation),
}
for name, loss in references.items():
    print(f"{name:12} loss {loss:.3f}   perplexity {np.exp(loss):6.2f}")

# %% model
from minilm.models import GPT, GPTConfig

config = GPTConfig(
    vocab_size=tokenizer.vocab_size,
    context_length=64,
    num_layers=4,
    num_heads=4,
    hidden_size=128,
)
model = GPT(config, np.random.default_rng(0))
logits, loss = model(inputs, targets)
print(f"{model.num_parameters():,} parameters; logits {logits.shape}")
print(f"loss at the start: {loss.item():.3f}   ln V = {references['uniform']:.3f}")

# %% training
from minilm.optim import AdamW, LRScheduler, clip_grad_norm_, warmup_cosine

STEPS = 400
optimizer = AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.99), weight_decay=0.1)
schedule = LRScheduler(optimizer, warmup_cosine(20, STEPS, final=0.1))
history = []
for step in range(STEPS):
    inputs, targets = batches.next_batch()
    logits, loss = model(inputs, targets)  # forward
    optimizer.zero_grad()
    loss.backward()  # every parameter's gradient
    clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    history.append(loss.item())
    if (step + 1) % 100 == 0:
        print(f"step {step + 1}: loss {np.mean(history[-50:]):.3f}")

# %% curve hide-input
fig, ax = plt.subplots()
ax.plot(history, color="tab:blue", lw=1)
names = ("uniform: ln V", "frequencies of characters", "bigram model")
for name, level, colour in zip(names, references.values(), ("0.5", "tab:orange", "tab:red")):
    ax.axhline(level, color=colour, ls="--", lw=1)
    ax.text(STEPS, level + 0.04, name, color=colour, ha="right", va="bottom", fontsize=9)
ax.set(xlabel="step", ylabel="loss, nats per character", ylim=(1, 5.2))
plt.show()

# %% evaluate
from minilm.metrics import bits_per_character, evaluate_loss

result = evaluate_loss(model, SequentialWindows(validation[:20_000], 32, 64))
print(f"validation loss {result.loss:.3f}, perplexity {result.perplexity:.2f}")
bits = bits_per_character(result.loss, result.tokens, result.tokens)
print(f"bits per character {bits:.2f}")

# %% sample
from minilm.generation import GenerationConfig, generate


def write(prompt, seed=0, **options):
    """Let the model continue a prompt."""
    start = tokenizer.encode_array(prompt)[None]
    config = GenerationConfig(**options)
    written = generate(model, start, config, np.random.default_rng(seed))
    return tokenizer.decode(written[0])


print(write("The ", max_new_tokens=250, temperature=0.8))

# %% temperatures
for temperature in (0, 0.5, 1.0, 2.0):
    print(f"--- temperature {temperature}")
    print(write("The ", max_new_tokens=70, temperature=temperature))

# %% temperature-plot hide-input
from minilm.functional.normalization import softmax_array

scores = model(tokenizer.encode_array("The st")[None])[0].data[0, -1]
top = np.argsort(-scores)[:8]
fig, axes = plt.subplots(1, 3, figsize=(5.8, 2.2), sharey=True, layout="constrained")
for ax, temperature in zip(axes, (0.5, 1.0, 2.0)):
    letters = [repr(tokenizer.decode([i]))[1:-1].replace(" ", "␣") for i in top]
    ax.bar(letters, softmax_array(scores / temperature, -1)[top])
    ax.set(title=f"τ = {temperature}", ylim=(0, 1))
axes[0].set_ylabel("P(next | The st)")
plt.show()

# %% unshifted
cheat = GPT(config, np.random.default_rng(0))
optimizer = AdamW(cheat.parameters(), lr=2e-3)
cheat_history = []
for _ in range(120):
    inputs, targets = batches.next_batch()
    _, loss = cheat(inputs, inputs)  # WRONG: the target is the input itself
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    cheat_history.append(loss.item())
print(f"loss after 120 steps:  {cheat_history[-1]:.3f}")
print(f"the right model had:   {np.mean(history[110:130]):.3f}")

# %% unshifted-sample
greedy = GenerationConfig(max_new_tokens=12, temperature=0)
start = tokenizer.encode_array("The s")[None]
print("unshifted:", repr(tokenizer.decode(generate(cheat, start, greedy)[0])))
print("honest loss on real targets:", round(cheat(inputs, targets)[1].item(), 3))

# %% script
import numpy as np

from minilm.data import RandomWindows, SequentialWindows, open_corpus
from minilm.generation import GenerationConfig, generate
from minilm.metrics import evaluate_loss
from minilm.models import GPT, GPTConfig
from minilm.optim import AdamW, LRScheduler, clip_grad_norm_, warmup_cosine
from minilm.text import CharacterTokenizer

steps, seed = 30, 0  # 2000 steps for a good model

text = open_corpus("python-reference").read()
tokenizer = CharacterTokenizer.train([text])
ids = tokenizer.encode_array(text)
training, validation = ids[: int(0.9 * len(ids))], ids[int(0.9 * len(ids)) :]

config = GPTConfig(
    vocab_size=tokenizer.vocab_size,
    context_length=64,
    num_layers=4,
    num_heads=4,
    hidden_size=128,
)
model = GPT(config, np.random.default_rng(seed))
batches = RandomWindows(training, 16, 64, np.random.default_rng(seed))
optimizer = AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.99), weight_decay=0.1)
schedule = LRScheduler(optimizer, warmup_cosine(steps // 20, steps, final=0.1))

for step in range(steps):
    logits, loss = model(*batches.next_batch())
    optimizer.zero_grad()
    loss.backward()
    clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    if (step + 1) % 10 == 0:
        print(f"step {step + 1}: loss {loss.item():.3f}")

print(evaluate_loss(model, SequentialWindows(validation[:5000], 32, 64)))
prompt = tokenizer.encode_array("The ")[None]
options = GenerationConfig(max_new_tokens=60)
written = generate(model, prompt, options, np.random.default_rng(seed))
print(tokenizer.decode(written[0]))

# %% solution-parameters
V, T, d, layers = config.vocab_size, 64, 128, 4
block = 2 * d + 4 * d * d + 8 * d * d  # two norms; q, k, v and output; up and down
print(V * d + T * d + layers * block + d, "=", model.num_parameters())
