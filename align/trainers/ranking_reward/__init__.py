"""A reward model from whole rankings: each answer goes through the model once, its prompt once for all of them.

config.py     RankingRewardConfig
rankings.py   records -> prompts with their distinct answers and what annotators said of these
batches.py    those -> token rows, the prompt shared where the attention allows it
model.py      token rows -> scores
losses.py     scores and ranks -> losses: Bradley-Terry, Plackett-Luce, with ties and margins
trainer.py    RankingRewardTrainer
"""
