"""Talking to a model: in the terminal, and over HTTP as OpenAI's clients do.

session, terminal    one conversation, streamed to standard output
server               `instructgpt serve`: load, bind, run; app: the endpoints; gate: keys and limits
host, served_model   what is served; rewards: the reward model beside it
chat_page, feedback  the page at /, and what people say of answers there
engine_loop          the thread that owns an engine; generation: tokens to pieces of text
answering, forms     pieces to responses and streams; schemas, errors: what may come in or not
"""
