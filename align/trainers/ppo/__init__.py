"""PPO for one machine: text in, one base in memory, resumes exactly.

Each complaint of the users of TRL's PPO trainer (removed in TRL 1.13), and what makes it impossible here:

     1  reward model and policy must share a tokenizer    text is scored, rendered for the reward model (rewards.py)
     2  no reward functions                               a function, a folder, or several weighted (rewards.py)
     3  out of memory with four models                    LoRA: one base, roles are adapters on it (models.py)
     4  no resume                                         checkpoints hold all state; equal hashes (state.py)
     5  PEFT reward or value models crash                 adapters are loaded by us, onto base or scorer (models.py)
     6  value model mandatory                             made from the reward model, or the policy (models.py)
     7  shared-base PPO lost                              the default with LoRA (models.py)
     8  the loop cannot be changed                        pure functions, and methods under 60 lines (trainer.py)
     9  generation ignores EOS                            every stop id the model and template know (generate.py)
    10  score on PAD, EOS penalty by another token        lengths, never ids, say what is real (rollout.py)
    11  num_mini_batches does nothing                     one optimizer step each; a test counts them (trainer.py)
    12  negative KL, exploding ratio                      clean sampling, recomputed log-probs, guard (trainer.py)
    13  negative entropy, unmasked metrics                every mean is over real tokens (advantages.py)
    14  evaluation never runs                             held-out prompts, scored and kept (trainer.py)
    15  distributed failures, slow generation             no padding in updates, sorted batches; one process so far
"""
