"""Glossary entries about text and tokens: names (parted by `|`), what it is, an analogy, and what to see also."""

TEXT: tuple[tuple[str, str, str, str], ...] = (
    (
        "token",
        "A piece of text that the model treats as one unit: a word, a part of a word, a mark or a blank. Each has a "
        "number, its id, and ids are all that goes into the model and all that comes out of it.",
        "Tokens are to a model what bricks are to a wall: it never handles anything smaller.",
        "tokenizer|vocabulary|special token",
    ),
    (
        "token id|id",
        "The number of a token in the vocabulary. It says nothing about the token's meaning: it is only the row to "
        "look up in the embedding.",
        "Like the number on a locker: neighbouring numbers need not hold similar things.",
        "token|vocabulary|embedding",
    ),
    (
        "tokenizer",
        "The program that cuts text into tokens before the model runs, and puts the text together again behind it. It "
        "was made before the model was trained and has no weights that training changes.",
        "Like a typesetter who picks the largest ready-made pieces of type that spell a line.",
        "token|vocabulary|BPE|chat template",
    ),
    (
        "vocabulary",
        "The list of every token a model knows. A word that is not on it is written with several tokens, so nothing is "
        "ever unreadable.",
        "Like the keys of a very large keyboard: other words are typed with more strokes.",
        "token|tokenizer|logits",
    ),
    (
        "BPE|byte pair encoding",
        "A way to make a vocabulary: begin with single bytes or letters, and again and again join the pair that stands "
        "side by side most often in a large text. Frequent words become one token, rare ones stay in parts.",
        "Like shorthand, which grows a sign for each phrase that is written often.",
        "tokenizer|vocabulary|token",
    ),
    (
        "special token",
        "A token that stands for no text but for a role: the beginning, the end, or whose turn it is to speak. The "
        "tokenizer and the chat template put them in; many tokenizers make one of it, too, when its name is typed.",
        "Like the stage directions in a play, which are read and not spoken.",
        "token|EOS|chat template",
    ),
    (
        "EOS|end of sequence|end-of-sequence",
        "The special token that says: here the answer ends. When the model chooses it, generation stops. A model has "
        "learned when to choose it, just as it has learned everything else it writes.",
        'Like saying "over" on the radio.',
        "special token|stop string|generation",
    ),
    (
        "stop string",
        "A text at which generation ends as soon as the answer contains it. It is a setting of the generation, and no "
        "part of the model.",
        "Like a tripwire across the answer.",
        "EOS|generation",
    ),
    (
        "chat template",
        "The pattern that turns a conversation into one text: special tokens say where each turn begins and who "
        "speaks. The model was trained on texts of that pattern, so without it an answer may go astray.",
        "Like the printed form that a letter is copied into before it is sent.",
        "special token|prompt|system message",
    ),
    (
        "system message",
        "A first turn of a chat that tells the model how to behave. It is text like the rest of the prompt, and the "
        "model reads it in the same way.",
        "Like the note that an actor is given before the scene.",
        "chat template|prompt",
    ),
    (
        "prompt",
        "The text that the model is given to go on from. After the tokenizer it is a row of token ids.",
        "Like the opening of a story that somebody else is to finish.",
        "token|prefill|chat template",
    ),
    (
        "position",
        "The place of a token in the sequence, counted from 0. A model works on one vector for each position, and "
        "attention (or, in models without it, a state) carries things from one position to another.",
        "Like seats in a row: what is on a seat changes, the seat does not.",
        "sequence|attention|RoPE|focus",
    ),
    (
        "sequence",
        "The prompt and everything generated so far, as one row of tokens. Each new token makes it one longer.",
        "Like a train to which a carriage is added at the end.",
        "token|position|context length",
    ),
    (
        "context length|context",
        "How many positions a model was made for. Prompt and answer must fit into it together.",
        "Like the length of a blackboard: when it is full, writing stops.",
        "position|sliding window|KV cache",
    ),
    (
        "padding|left padding",
        "Tokens without meaning, put before a short prompt so that it is as long as the others in a batch. A mask "
        "keeps attention from reading them.",
        "Like blank pages that are bound in front to make all books equally thick.",
        "batch|mask|attention",
    ),
    (
        "batch",
        "Several sequences that go through the model at the same time. llmdbg follows one.",
        "Like a tray of loaves in one oven.",
        "padding|tensor",
    ),
    (
        "generation",
        "Writing an answer: run the model, choose one token, append it, and run the model again, until it ends.",
        "Like building a path by laying one stone and stepping onto it to lay the next.",
        "forward|prefill|decode|sampling",
    ),
)
