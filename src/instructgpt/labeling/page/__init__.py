"""The page where people demonstrate, rate and rank, and its lead's overview.

app       the application: sign-in, the labeler's desk;  lead: the lead's routes
guard     sessions, forged requests, headers;            rendering: templates and languages
interface what the paper's labelers were asked;          words: English and Chinese
"""
