"""Live monitors of a policy's training: what each curve most likely means, what to do, and when to stop.

    monitor = Monitor(config.alarms, Bounds(max_kl=20.0, min_specificity=0.9), reference_std=1.3)
    for alarm in monitor.observe(curve, evaluations): reporter.note(alarm.sentence, level="warning")

They see the curve (one row an update) and the evaluations at held-out prompts, nothing that a run could not know. A
reward model never says that it is fooled: its score goes on rising. What gives it away is where the policy stands
(KL, scores beyond all that it was trained on, members that disagree) and what responses look like (longer,
repeated, unended, the same whatever is asked). Each alarm is raised once.
"""
