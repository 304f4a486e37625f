"""The details of PPO that experts check, each with its setting, its test and its source.

    python -m tests.alignment.details     prints them as a table

`ppo/test_details.py` asserts that every test and every setting named here exists, and that every setting of PPO is
named here. A setting of "always" cannot be turned off: another value of it would be a mistake.
"""

from __future__ import annotations

from typing import NamedTuple

ALWAYS = "always"


class Detail(NamedTuple):
    """A line of the table."""

    name: str
    setting: str  # of PPOConfig, several with commas; or ALWAYS
    test: str  # file::test, in this folder
    source: str


N_PLUS = "Huang et al. 2024 (N+)"
ZIEGLER = "Ziegler et al. 2019"
STIENNON = "Stiennon et al. 2020"
INSTRUCT = "Ouyang et al. 2022"
PPO = "Schulman et al. 2017"
KL = "Schulman 2020, Approximating KL Divergence"

DETAILS = (
    # tokens
    Detail("The stop token is trained in SFT", ALWAYS, "test_sft.py::test_the_stop_is_learned", N_PLUS),
    Detail(
        "Padding is not the stop token",
        ALWAYS,
        "models/test_load.py::test_pad_equal_to_eos_is_replaced_and_the_embedding_grows_by_it",
        N_PLUS,
    ),
    Detail(
        "The stop is part of the response, nothing follows it",
        "max_response_length",
        "rollout/test_generation.py::test_the_stop_is_part_of_the_response_and_nothing_follows_it",
        N_PLUS,
    ),
    Detail(
        "Prompts are padded on the left, positions come from the mask",
        ALWAYS,
        "rollout/test_generation.py::test_padding_moves_no_position",
        N_PLUS,
    ),
    Detail("Padding changes no advantage", ALWAYS, "maths/test_advantages.py::test_padding_changes_nothing", N_PLUS),
    Detail("Values on padding are not read", ALWAYS, "ppo/test_stage.py::test_values_on_padding_do_not_matter", N_PLUS),
    Detail(
        "Each prompt is used equally often",
        "batch_size",
        "ppo/test_stage.py::test_batches_cycle_evenly_in_changing_order",
        "Andrychowicz et al. 2021, 3.5",
    ),
    Detail(
        "What does not fit is counted, not cut",
        "max_length",
        "ppo/test_stage.py::test_long_prompts_are_counted_and_few_prompts_repeat",
        INSTRUCT + ", C",
    ),
    # rollout
    Detail(
        "No dropout: the first ratio is 1",
        ALWAYS,
        "ppo/test_stage.py::test_the_ratio_is_one_and_the_kl_zero_before_the_first_step",
        N_PLUS,
    ),
    Detail(
        "Nor in adapters, which are off in the reference",
        "lora",
        "ppo/test_stage.py::test_adapters_have_no_dropout_and_are_off_in_the_reference",
        "Hu et al. 2021; TRL 1.12",
    ),
    Detail(
        "One temperature for rollout, reference and update",
        "temperature",
        "rollout/test_generation.py::test_logprobs_are_those_of_a_forward_pass_under_the_temperature",
        N_PLUS,
    ),
    Detail(
        "Rollout engines draw alike",
        "rollout_engine",
        "rollout/test_engines.py::test_engines_agree_greedily_token_by_token",
        "our own",
    ),
    Detail(
        "Where an engine's probabilities differ from ours, tokens are weighted, up to a cap",
        "importance_cap",
        "rollout/test_engines.py::test_importance_weights_by_hand",
        "Yao et al. 2025; Espeholt et al. 2018, eq. 1",
    ),
    Detail(
        "That gap is logged",
        ALWAYS,
        "rollout/test_engines.py::test_the_gap_is_that_of_the_engines_and_our_logprobs",
        "Yao et al. 2025",
    ),
    Detail(
        "Log-probabilities do not depend on the batch",
        "micro_batch_size",
        "models/test_forward.py::test_logprobs_are_those_of_each_sequence_alone",
        N_PLUS,
    ),
    Detail(
        "The reference is frozen, nothing is shared",
        ALWAYS,
        "ppo/test_stage.py::test_policy_and_critic_share_no_weight",
        STIENNON + ", B.1",
    ),
    Detail(
        "A seed gives the run again",
        "seed",
        "ppo/test_stage.py::test_the_same_seed_gives_the_same_run_and_another_does_not",
        N_PLUS,
    ),
    # scores
    Detail(
        "The score is read at the last real token",
        ALWAYS,
        "models/test_forward.py::test_the_score_is_read_at_the_last_real_token",
        N_PLUS,
    ),
    Detail(
        "Reference answers score 0",
        ALWAYS,
        "models/test_forward.py::test_many_rows_are_scored_in_their_order_less_the_stored_mean",
        f"{STIENNON}, 3.4; {INSTRUCT}, 3.5",
    ),
    Detail(
        "A missing stop replaces the score",
        "missing_eos, missing_eos_score",
        "ppo/test_stage.py::test_a_missing_stop_token_replaces_the_score",
        N_PLUS,
    ),
    Detail(
        "Or takes a penalty from it",
        "missing_eos, missing_eos_penalty",
        "ppo/test_score_shaping.py::test_a_missing_stop_replaces_subtracts_or_is_let_be",
        "TRL 1.12",
    ),
    Detail(
        "Scores in deviations of the reference answers, the critic alike",
        "score_normalisation",
        "ppo/test_settings.py::test_reference_normalisation_scales_scores_and_critic_alike",
        f"{ZIEGLER}, 2.1",
    ),
    Detail(
        "Or in those of the run so far",
        "score_normalisation",
        "ppo/test_controllers.py::test_running_statistics_are_those_of_all_scores_so_far",
        "Zheng et al. 2023 (Secrets of RLHF)",
    ),
    Detail(
        "Evaluations are compared on one scale",
        "score_normalisation",
        "ppo/test_controllers.py::test_evaluations_keep_the_scale_of_the_first",
        "our own: a running scale moves",
    ),
    Detail(
        "Scores are clipped",
        "score_clip",
        "ppo/test_score_shaping.py::test_scores_are_normalised_then_clipped",
        "DeepSpeed-Chat",
    ),
    Detail(
        "Length beyond a bound costs",
        "length_penalty, length_free",
        "ppo/test_score_shaping.py::test_tokens_beyond_the_free_ones_cost",
        "Singhal et al. 2023; Yu et al. 2025 (DAPO)",
    ),
    Detail(
        "Repetition costs",
        "repetition_penalty, repetition_ngram",
        "ppo/test_score_shaping.py::test_repetition_costs_its_share",
        "Paulus et al. 2017",
    ),
    Detail(
        "Guards come after the clip",
        "score_clip",
        "ppo/test_score_shaping.py::test_the_guards_come_after_the_clip",
        "our own order",
    ),
    Detail(
        "An ensemble's disagreement is logged",
        ALWAYS,
        "ppo/test_settings.py::test_an_ensembles_disagreement_is_logged",
        "Coste et al. 2023",
    ),
    Detail(
        "A score that is no number names its text",
        ALWAYS,
        "ppo/test_stage.py::test_a_reward_model_that_says_nan_is_named",
        "our own",
    ),
    Detail("Another tokenizer is refused", ALWAYS, "ppo/test_stage.py::test_another_tokenizer_is_refused", "our own"),
    Detail(
        "A weak reward model is refused",
        "gate, accept_reward_model",
        "ppo/test_stage.py::test_the_gate_is_asked_before_any_model_is_loaded",
        "Gao et al. 2022",
    ),
    # rewards
    Detail(
        "The score lands on the last token",
        ALWAYS,
        "maths/test_advantages.py::test_the_score_lands_on_the_last_real_token",
        N_PLUS + ", one position earlier",
    ),
    Detail(
        "The KL is taken from each token's reward",
        "kl_in, kl_coef",
        "ppo/test_settings.py::test_the_estimator_prices_each_token",
        ZIEGLER + ", 2.2",
    ),
    Detail("k1, k2 and k3", "kl_estimator", "maths/test_advantages.py::test_kl_estimators_by_hand", KL),
    Detail(
        "k1 and k3 are unbiased values",
        "kl_estimator",
        "maths/test_advantages.py::test_kl_estimators_are_unbiased_where_they_say_so",
        KL,
    ),
    Detail(
        "k3 does not overflow",
        "kl_estimator",
        "maths/test_advantages.py::test_k3_survives_a_token_that_the_reference_cannot_explain",
        "verl",
    ),
    Detail(
        "As a loss only k2 has the right gradient",
        "kl_in, kl_estimator, kl_straight_through",
        "ppo/test_settings.py::test_which_estimator_has_the_gradient_of_the_kl",
        "verl and OpenRLHF, comments; Liu et al. 2025",
    ),
    Detail(
        "The others are refused as a loss",
        "kl_in, kl_estimator",
        "ppo/test_settings.py::test_a_kl_loss_without_the_right_gradient_is_refused",
        "verl and OpenRLHF, comments",
    ),
    Detail(
        "A KL in the loss is not in the reward too",
        "kl_in",
        "ppo/test_settings.py::test_a_kl_in_the_loss_leaves_the_rewards_alone",
        "Shao et al. 2024 (GRPO)",
    ),
    Detail("A fixed coefficient", "kl_controller", "ppo/test_controllers.py::test_a_fixed_coefficient_stays", STIENNON),
    Detail(
        "An adaptive one",
        "kl_controller, kl_target, kl_horizon",
        "ppo/test_controllers.py::test_the_coefficient_follows_ziegler",
        ZIEGLER + ", 2.2",
    ),
    Detail(
        "Rewards can be whitened, their mean kept",
        "whiten_rewards",
        "ppo/test_settings.py::test_rewards_are_whitened_with_their_mean_kept",
        f"{ZIEGLER}, code; off in N+",
    ),
    # advantages
    Detail("GAE", "gamma, gae_lambda", "maths/test_advantages.py::test_gae_by_hand", "Schulman et al. 2016, eq. 16"),
    Detail("After the last token the value is 0", ALWAYS, "maths/test_advantages.py::test_gae_extremes", N_PLUS),
    Detail(
        "A value is that of the state before its token",
        ALWAYS,
        "models/test_forward.py::test_a_value_belongs_to_the_state_before_its_token",
        N_PLUS,
    ),
    Detail(
        "Advantages are whitened over the whole batch",
        "whiten_advantages",
        "ppo/test_settings.py::test_advantages_are_whitened_over_the_batch_not_over_its_parts",
        "N+ and TRL 1.12 do so for each process",
    ),
    # losses
    Detail("The clipped surrogate", "clip_range", "maths/test_losses.py::test_policy_loss_by_hand", PPO + ", eq. 7"),
    Detail(
        "Rare tokens may gain more than common ones lose",
        "clip_range_high",
        "maths/test_losses.py::test_the_ratio_may_rise_further_than_it_falls",
        "Yu et al. 2025 (DAPO), eq. 10",
    ),
    Detail(
        "A clipped token gives no gradient",
        "clip_range",
        "maths/test_losses.py::test_a_clipped_token_gives_no_gradient",
        PPO,
    ),
    Detail(
        "The clipped value loss", "value_clip_range, vf_coef", "maths/test_losses.py::test_value_loss_by_hand", N_PLUS
    ),
    Detail(
        "Its clip can be off",
        "clip_values",
        "ppo/test_learning.py::test_clip_values_turns_the_clip_off",
        "Andrychowicz et al. 2021",
    ),
    Detail(
        "An entropy bonus", "entropy_coef", "ppo/test_learning.py::test_the_bonus_raises_the_entropy", PPO + ", eq. 9"
    ),
    Detail(
        "Losses divide by the tokens of the whole step, over micro-batches and ranks",
        "micro_batch_size",
        "ppo/test_learning.py::test_ranks_and_micro_batches_add_up_to_the_whole_batch",
        "OpenRLHF, aggregate_loss",
    ),
    Detail(
        "How a batch is cut changes no weight",
        "micro_batch_size",
        "ppo/test_stage.py::test_how_the_batch_is_cut_changes_nothing",
        "TRL, tests/invariant",
    ),
    Detail(
        "Several passes and mini-batches, shuffled anew",
        "inner_epochs, mini_batches",
        "ppo/test_oracle_numpy.py::test_three_updates_agree",
        N_PLUS,
    ),
    Detail(
        "The critic starts as the reward model",
        ALWAYS,
        "ppo/test_stage.py::test_the_critic_starts_as_the_reward_model",
        f"{STIENNON}, B.1; {INSTRUCT}, C.4",
    ),
    Detail(
        "The critic may learn alone at first",
        "critic_warmup",
        "ppo/test_learning.py::test_at_first_the_critic_learns_alone",
        "Yuan et al. 2025 (VC-PPO); Yue et al. 2025 (VAPO)",
    ),
    Detail(
        "Several responses to a prompt, judged against one another where the critic was wrong",
        "responses_per_prompt, group_baseline",
        "maths/test_advantages.py::test_what_the_critic_missed_on_the_others_is_taken_by_hand",
        "Kool et al. 2019; Yue et al. 2025 (VAPO)",
    ),
    Detail(
        "The critic's explained variance",
        ALWAYS,
        "maths/test_advantages.py::test_explained_variance_by_hand",
        "NeMo-RL",
    ),
    # optimizer
    Detail(
        "Adam's epsilon and betas, epsilon where PyTorch has it",
        "adam_epsilon, adam_beta1, adam_beta2",
        "ppo/test_learning.py::test_adam_is_set_up_as_asked_and_places_epsilon_as_pytorch_does",
        N_PLUS,
    ),
    Detail(
        "Decoupled weight decay",
        "weight_decay, learning_rate",
        "ppo/test_oracle_numpy.py::test_three_updates_agree",
        "Loshchilov & Hutter 2019",
    ),
    Detail(
        "A critic's own rate",
        "critic_learning_rate",
        "ppo/test_learning.py::test_the_critic_has_a_rate_of_its_own_or_the_policys",
        INSTRUCT + ", C.4",
    ),
    Detail(
        "Warm-up, then linear decay",
        "warmup_ratio, updates",
        "ppo/test_stage.py::test_the_rate_warms_up_and_falls_to_zero",
        N_PLUS,
    ),
    Detail(
        "Constant or cosine instead",
        "schedule",
        "ppo/test_learning.py::test_schedules_after_the_warm_up",
        INSTRUCT + ", C.4; DeepSpeed-Chat",
    ),
    Detail(
        "Gradient clipping",
        "max_grad_norm",
        "ppo/test_learning.py::test_gradients_are_scaled_down_to_the_norm",
        "Llama 2, 3.2.3",
    ),
    Detail(
        "An update ends early by its KL",
        "target_kl",
        "ppo/test_stage.py::test_an_update_ends_at_the_target_kl",
        "OpenAI Spinning Up",
    ),
    Detail(
        "Recomputed activations change nothing",
        "gradient_checkpointing",
        "ppo/test_stage.py::test_recomputing_activations_changes_nothing",
        "Chen et al. 2016",
    ),
    Detail(
        "A pretraining mix",
        "ptx_coef, ptx_examples",
        "ppo/test_learning.py::test_the_mixs_gradient_is_the_coefficient_times_that_of_the_mean_loss",
        INSTRUCT + ", eq. 2, C.4",
    ),
    Detail(
        "An average of the weights",
        "ema_decay",
        "ppo/test_controllers.py::test_the_average_follows_and_can_be_worn",
        INSTRUCT + ", C.4",
    ),
    Detail(
        "The average is what is compared and kept",
        "keep_ema",
        "ppo/test_learning.py::test_the_average_is_evaluated_and_kept_unless_asked_otherwise",
        INSTRUCT + ", C.4",
    ),
    # keeping one's head
    Detail(
        "A ratio that blows up ends the run before the step",
        "max_ratio",
        "ppo/test_learning.py::test_a_ratio_that_blows_up_ends_the_run_before_the_step",
        "TRL 0.7 (ratio_threshold)",
    ),
    Detail(
        "A KL explosion is divergence",
        "max_kl",
        "ppo/test_stage.py::test_a_step_too_large_is_divergence_and_leaves_nothing",
        "our own",
    ),
    Detail(
        "After divergence the last good policy is the result",
        ALWAYS,
        "ppo/test_stage.py::test_divergence_after_a_kept_policy_ends_training_with_that_policy",
        "our own",
    ),
    Detail(
        "The kept policy is chosen on held-out prompts, beyond the noise",
        "heldout_fraction, evaluate_every, keep_kl_coef, max_kl",
        "ppo/test_evaluation.py::test_a_policy_replaces_another_only_beyond_the_noise",
        "Gao et al. 2022",
    ),
    Detail(
        "None is kept that says the same whatever is asked",
        "min_specificity",
        "ppo/test_evaluation.py::test_a_policy_that_says_the_same_to_all_is_not_kept_whatever_its_score",
        "our own rule; the measure: van den Oord et al. 2018, eq. 5",
    ),
    Detail(
        "An evaluation has enough replies, counted by prompt",
        "evaluate_replies",
        "ppo/test_evaluation.py::test_several_replies_to_a_prompt_are_one_independent_unit",
        "our own",
    ),
    Detail(
        "People can judge every evaluation, blind, beside the SFT policy",
        "compare_prompts",
        "ppo/test_stage.py::test_each_evaluation_is_reported_beside_the_sft_policys_replies",
        f"{STIENNON}, 4.3",
    ),
    Detail(
        "Alarms in words",
        "alarms",
        "ppo/test_alarms.py::test_each_alarm_for_its_own_curve_and_no_other",
        "Gao et al. 2022; Coste et al. 2023",
    ),
    Detail(
        "Alarms end training",
        "alarms",
        "ppo/test_alarms.py::test_chosen_alarms_and_lost_patience_end_training",
        "our own",
    ),
    Detail(
        "Prompts that the chat template refuses are left out by name, or their turns joined",
        "template_refusals",
        "data/test_screening.py::test_every_stage_does_with_refused_rows_what_the_setting_says",
        "our own",
    ),
    Detail(
        "Weights are saved in the type that they came in",
        "save_dtype",
        "models/test_families.py::test_weights_are_saved_in_the_type_that_they_came_in",
        "our own",
    ),
    Detail(
        "Adapters are saved as adapters, or merged in float32",
        "save_adapter",
        "ppo/test_one_base.py::test_a_policy_is_saved_as_an_adapter_and_on_request_merged",
        "Hu et al. 2021",
    ),
    Detail(
        "Frozen roles may wait in the host's memory, and say the same",
        "offload_frozen",
        "ppo/test_settings.py::test_frozen_roles_rest_only_where_they_are_whole_models",
        "Ren et al. 2021 (ZeRO-Offload), of frozen weights",
    ),
    Detail(
        "Lighter methods begin at the reference, too",
        "method, layers, bottleneck",
        "models/test_methods.py::test_ppo_begins_at_its_reference_moves_and_goes_on",
        "Liu et al. 2022 (IA3); Houlsby et al. 2019 (adapters); Ben Zaken et al. 2022 (BitFit)",
    ),
    Detail(
        "Shares of the weights change nothing",
        "shard_weights",
        "ppo/test_team.py::test_the_number_of_processes_changes_no_result",
        "Zhao et al. 2023 (FSDP)",
    ),
    Detail(
        "A killed run goes on to the same weights",
        "save_every, save_minutes",
        "training/test_checkpoints.py::test_killed_at_five_steps_and_started_again",
        "our own",
    ),
    Detail(
        "The whole agrees with TRL 1.12's trainer",
        ALWAYS,
        "ppo/test_oracle.py::test_three_updates_of_trl_1_12s_own_trainer",
        "TRL 1.12.0",
    ),
    Detail(
        "And with a second PPO in numpy",
        ALWAYS,
        "ppo/test_oracle_numpy.py::test_three_updates_agree",
        "the papers above",
    ),
)


def main() -> None:
    print("| # | Detail | Setting | Test | Source |")
    print("|---|---|---|---|---|")
    for number, detail in enumerate(DETAILS, 1):
        setting = ALWAYS if detail.setting == ALWAYS else ", ".join(f"`{s}`" for s in detail.setting.split(", "))
        print(f"| {number} | {detail.name} | {setting} | `{detail.test}` | {detail.source} |")


if __name__ == "__main__":
    main()
