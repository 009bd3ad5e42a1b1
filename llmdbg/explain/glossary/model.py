"""Glossary entries about the inside of a model: names (parted by `|`), what it is, an analogy, and what to see also."""

MODELS: tuple[tuple[str, str, str, str], ...] = (
    (
        "language model|LLM|large language model",
        "A program whose numbers were learned from a great deal of text, and which does one thing: it says how likely "
        "each token is to come next. A large one has billions of such numbers.",
        "Like someone who has read a library and now guesses how any sentence goes on.",
        "token|weight|probability|forward",
    ),
    (
        "transformer",
        "The plan that most language models follow (Vaswani et al. 2017): layers one after another, each with "
        "attention, which carries things between positions, and an MLP, which works on each position by itself.",
        "Like a row of desks at which a text is worked on, each adding its notes.",
        "layer|attention|MLP|residual stream",
    ),
    (
        "bias|biases",
        "Learned numbers that are added to a result, whatever went in. Many models have none.",
        "Like a scale that always shows a little too much.",
        "weight|matrix",
    ),
    (
        "soft-capping|soft cap|softcap",
        "Some models (Gemma 2) keep scores from growing without end: the larger one is, the less it still grows, and "
        "it never passes a given size.",
        "Like a spring that gets harder the further it is pressed.",
        "logits|attention",
    ),
    (
        "safetensors|GGUF",
        "Two kinds of files that weights are kept in. GGUF files mostly hold quantised ones.",
        "Like two formats of the same photograph.",
        "weight|quantisation",
    ),
    (
        "vector",
        "A row of numbers. Inside the model each position has one, and its numbers together say what the model has "
        "found out about the token there so far.",
        "Like the map reference of a place, with hundreds of coordinates instead of two.",
        "matrix|tensor|residual stream",
    ),
    (
        "matrix",
        "A table of numbers with rows and columns. Multiplying a vector by it gives another vector, each number of "
        "which is a weighted sum of the old ones.",
        "Like a mixing desk: each output is its own mix of all inputs.",
        "vector|weight|projection",
    ),
    (
        "tensor",
        "Numbers arranged along any number of axes: a vector has one, a matrix two. What a layer puts out has three: "
        "sequences in the batch, positions, and the numbers of each vector.",
        "Like a cabinet of drawers with a table in each.",
        "vector|matrix|shape|dtype",
    ),
    (
        "shape",
        "How many numbers a tensor has along each of its axes, written as [1, 13, 576] for 1 sequence of 13 positions "
        "with 576 numbers each.",
        "Like the measurements on a box.",
        "tensor|batch|position",
    ),
    (
        "embedding",
        "A table with one row of learned numbers for every token of the vocabulary. Looking up a token's row turns its "
        "id into a vector that the model can work with.",
        "Like a dictionary that gives coordinates instead of definitions: words used alike lie near each other.",
        "token id|vector|residual stream|tied weights",
    ),
    (
        "residual stream|residual",
        "The vector of a position on its way through the layers. Each part of a layer reads it and adds something to "
        "it, so what was there before is still in it.",
        "Like a shared notebook that goes from desk to desk: everyone reads it and writes something more.",
        "layer|vector|embedding",
    ),
    (
        "layer|decoder layer|block",
        "One of the equal floors of the model. Most have two parts: one that reads from other positions and one that "
        "works on each position by itself. What both find is added to the residual stream.",
        "Like an editor: a text passes through many, and each improves it a little.",
        "attention|MLP|residual stream",
    ),
    (
        "module",
        "A part of the model with a computation of its own, which may be made of smaller modules. llmdbg can stop "
        "after each of them.",
        "Like a part on a bill of materials.",
        "layer|forward|stage",
    ),
    (
        "attention|self-attention",
        "The part of a layer that lets a position read from the positions before it. It gives each of them a share, "
        "all shares together are 100 %, and what is read is the mix with these shares.",
        "Like looking back through your notes for the lines that matter for the next word.",
        "head|query|key|value|KV cache",
    ),
    (
        "head|attention head",
        "One of several attentions that a layer runs side by side, each with its own idea of what matters. Their "
        "results are put together again. The output head is something else: see `output head`.",
        "Like several readers of one page, each looking for something else.",
        "attention|grouped-query attention|query",
    ),
    (
        "output head|lm head|unembedding",
        "The matrix behind the last layer. It compares the vector of a position with every token of the vocabulary and "
        "gives each a score.",
        "Like a quiz machine that holds your answer against every answer it knows.",
        "logits|vocabulary|tied weights",
    ),
    (
        "query|queries",
        "What a position asks for in attention: a vector made from its own. It is compared with the keys of the "
        "positions before it.",
        "Like what you type into a search box.",
        "key|value|attention|head",
    ),
    (
        "key",
        "What a position offers to be found by in attention: a vector made from its own. The better it fits a query, "
        "the larger the share it is read with.",
        "Like the title on the spine of a book.",
        "query|value|KV cache",
    ),
    (
        "value",
        "What is read from a position that attention has found: a vector made from the one there.",
        "Like the contents of the book that the title led to.",
        "query|key|attention",
    ),
    (
        "KV cache|cache",
        "The keys and values of all earlier positions, kept so that they need not be computed again. Because of it "
        "each new token needs a forward over one position alone.",
        "Like keeping your notes on a book instead of reading it again for every sentence you write.",
        "key|value|prefill|decode",
    ),
    (
        "grouped-query attention|GQA",
        "Attention in which several query heads share one head of keys and values. It makes the KV cache smaller.",
        "Like several readers who share one index.",
        "head|KV cache|query",
    ),
    (
        "attention sink|sink",
        "A position, mostly the first, that many heads give a large share although it says little. It is where a head "
        "looks when there is nothing to read.",
        "Like looking at the ceiling while you think.",
        "attention|head",
    ),
    (
        "mask|causal mask",
        "What keeps attention from reading where it must not: from later positions, from padding, and beyond a sliding "
        "window.",
        "Like a sheet of paper laid over the lines you have not read yet.",
        "attention|padding|sliding window",
    ),
    (
        "RoPE|rotary position|rotary",
        "The way many models tell attention where tokens stand: queries and keys are turned by an angle that grows "
        "with the position, so that their comparison depends on how far apart they are.",
        "Like the hands of a clock: the angle between them tells how much time lies between.",
        "position|query|key",
    ),
    (
        "sliding window|window",
        "A limit on how far back attention reads. What lies further back can only arrive through the layers between.",
        "Like reading through a slot that is moved along the lines.",
        "attention|mask|context length",
    ),
    (
        "MLP|feed-forward|feed forward",
        "The part of a layer that works on each position by itself: it widens the vector, lets only some of the "
        "numbers pass, and brings it back to its size. Much of what a model knows is thought to be stored there.",
        "Like thinking about what you have just read, each reader alone.",
        "layer|activation|residual stream",
    ),
    (
        "SwiGLU|gated MLP",
        "An MLP with two ways in: one decides how much of each number passes, the other what that number is.",
        "Like a row of taps, each with its own valve.",
        "MLP|activation",
    ),
    (
        "activation|activation function",
        "A simple curve that is applied to each number by itself, mostly holding negative ones back. Without it many "
        "layers could be replaced by a single matrix. Values inside a model are called activations as well.",
        "Like a valve that opens only under pressure.",
        "MLP|SwiGLU",
    ),
    (
        "norm|normalisation|layer norm|layernorm",
        "A step that brings the vector of each position to a common size, so that what comes behind works with numbers "
        "it is used to. The length of a vector is called its norm too.",
        "Like setting the volume before the next recording.",
        "RMSNorm|vector|residual stream",
    ),
    (
        "RMSNorm",
        "A norm that divides a vector by the root of the mean of its squares and scales each number by a learned "
        "weight. It leaves out the mean that LayerNorm subtracts.",
        "Like turning the volume down without touching the balance.",
        "norm|vector",
    ),
    (
        "projection|linear",
        "A module that multiplies each vector by one learned matrix. Most weights of a model are in projections.",
        "Like seeing the same object from another side.",
        "matrix|weight|query",
    ),
    (
        "weight|parameter",
        "A number that training has set and running the model does not change. The weights are the model: the "
        "program around them is short.",
        "Like the settings of a machine that somebody spent months adjusting.",
        "matrix|dtype|quantisation",
    ),
    (
        "tied weights|tied",
        "The embedding and the output head are one and the same matrix, used in both directions.",
        "Like a phrase book that is read from either side.",
        "embedding|output head|weight",
    ),
    (
        "mixture of experts|MoE",
        "A layer with several MLPs, its experts, of which each position uses only a few. The model can know more "
        "without more work for each token.",
        "Like a practice with many doctors: a patient sees the two who fit.",
        "router|MLP|layer",
    ),
    (
        "router|gate",
        "The small part of a mixture of experts that decides which experts a position is sent to.",
        "Like the reception desk of that practice.",
        "mixture of experts|MLP",
    ),
    (
        "state-space model|mamba|state space",
        "A layer that reads the positions one after another and keeps a state of fixed size in place of attention's "
        "look back at all of them.",
        "Like following a talk by keeping a summary in mind, not a transcript.",
        "attention|layer|KV cache",
    ),
    (
        "dropout",
        "While a model is trained, dropout sets some numbers to zero at random, so that it relies on no single one. "
        "When it writes, dropout does nothing.",
        "Like practising with one hand tied, and playing with both.",
        "training|module",
    ),
    (
        "training",
        "How the weights came about: the model guessed the next token of very many texts, and after each guess every "
        "weight was moved a little so that the right token would have been likelier.",
        "Like learning a language by guessing how sentences go on.",
        "weight|loss|token",
    ),
    (
        "loss",
        "How wrong a guess was in training: minus the logarithm of the probability that the right token had.",
        "Like points that are taken off for being surprised.",
        "training|surprise|perplexity",
    ),
    (
        "dtype",
        "How each number of a tensor is stored: how many bits it has, and how they are used. Fewer bits need less "
        "memory and are less exact.",
        "Like writing a length to the millimetre or to the metre.",
        "bfloat16|float32|quantisation",
    ),
    (
        "bfloat16|bf16|float16",
        "A number in 16 bits with the range of float32 and about three decimal digits. Models are often stored in it. "
        "float16 has a digit more and a much smaller range, so large values become infinite.",
        "Like a ruler that is as long as before but has fewer marks.",
        "dtype|float32|NaN",
    ),
    (
        "float32",
        "A number in 32 bits with about seven decimal digits.",
        "Like a ruler with fine marks.",
        "dtype|bfloat16",
    ),
    (
        "quantisation|quantization|quantised|quantized",
        "Storing weights in 8 or 4 bits, with a scale for each group of them. The model becomes several times smaller "
        "and a little less exact.",
        "Like a picture with fewer colours: smaller, and mostly you do not see it.",
        "weight|dtype",
    ),
    (
        "NaN|not a number|infinity|inf",
        "A value that is no number, as dividing 0 by 0 gives. Whatever is computed with it becomes NaN too, so one "
        "can spoil everything behind it. Infinity comes before it often: a number too large for its dtype.",
        "Like a drop of ink in the water.",
        "dtype|float32|breakpoint",
    ),
    (
        "forward|forward pass",
        "One run through the whole model, from token ids to scores for the next token.",
        "Like one trip down the assembly line.",
        "prefill|decode|layer",
    ),
    (
        "prefill",
        "The first forward: the whole prompt goes through the model at once, all positions side by side. It fills the "
        "KV cache and produces the first token.",
        "Like reading the question before you begin to answer.",
        "decode|forward|KV cache",
    ),
    (
        "decode",
        "Every later forward: only the newest token goes through the model, and attention reads what the others left "
        "in the KV cache.",
        "Like writing the answer word by word, with the question still in mind.",
        "prefill|forward|KV cache",
    ),
    (
        "GPU|CUDA|device",
        "The processor a model runs on. A graphics processor has its own memory, into which the weights are copied "
        "before anything runs, and does thousands of small sums at once. CUDA is the way to program NVIDIA's.",
        "Like a kitchen with a thousand cooks who all follow the same recipe.",
        "weight|tensor|dtype",
    ),
)
