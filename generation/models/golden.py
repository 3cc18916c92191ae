"""Golden pictures: what is drawn to compare two lanes, and what came out. Global; none holds a tenant's data."""

from __future__ import annotations

from collections.abc import Collection

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.ids import uuid7
from generation.engine.request import MAX_CFG, MAX_SEED, MAX_SIDE, MAX_STEPS
from generation.enums import Task, Tolerance, Verdict
from generation.models.goldenstart import check_start


class GoldenCase(models.Model):
    """One picture that every release must draw like the one before. An empty number means the model's own.

    With another task than text to image it starts from the picture of another case (`goldenstart.py` has the rules).
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slug = models.SlugField(_("name"), unique=True, max_length=60)
    model = models.ForeignKey("generation.Model", verbose_name=_("model"), on_delete=models.CASCADE, related_name="+")
    prompt = models.TextField(_("prompt"))
    negative_prompt = models.TextField(_("negative prompt"), blank=True)
    seed = models.BigIntegerField(_("seed"), default=1, validators=[MinValueValidator(0), MaxValueValidator(MAX_SEED)])
    width = models.PositiveIntegerField(
        _("width"), null=True, blank=True, validators=[MinValueValidator(16), MaxValueValidator(MAX_SIDE)]
    )
    height = models.PositiveIntegerField(
        _("height"), null=True, blank=True, validators=[MinValueValidator(16), MaxValueValidator(MAX_SIDE)]
    )
    steps = models.PositiveSmallIntegerField(
        _("steps"), null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(MAX_STEPS)]
    )
    true_cfg_scale = models.FloatField(
        _("true CFG scale"), null=True, blank=True, validators=[MinValueValidator(0), MaxValueValidator(MAX_CFG)]
    )
    task = models.CharField(
        _("task"), max_length=20, choices=Task.choices, default=Task.TEXT_TO_IMAGE, db_default=Task.TEXT_TO_IMAGE.value
    )
    # Without a constraint: a release before this one may delete a case and knows nothing of those that start from it.
    starts_from = models.ForeignKey(
        "self",
        verbose_name=_("starts from"),
        on_delete=models.RESTRICT,
        related_name="followers",
        db_constraint=False,
        null=True,
        blank=True,
        help_text=_(
            "The case whose picture of before both lanes start from. A case of the same model; only where the model "
            "draws nothing from text, of another one."
        ),
    )
    strength = models.FloatField(
        _("strength"),
        null=True,
        blank=True,
        help_text=_("How little of that picture stays: more than 0, up to 1. Of image to image and inpaint."),
    )
    mask = models.CharField(
        _("mask"),
        max_length=40,
        blank=True,
        default="",
        db_default="",
        help_text=_(
            "What inpaint draws anew, as a rectangle in fractions of the picture: left, top, right, bottom, as in "
            "0.25,0.25,0.75,0.75."
        ),
    )
    tolerance = models.CharField(
        _("tolerance"),
        max_length=10,
        choices=Tolerance.choices,
        default=Tolerance.CLOSE,
        help_text=_(
            "Exact: the same pixels. Close: what other kernels and drivers change. Loose: the model is meant to have "
            "changed, and still draws the same thing."
        ),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    position = models.PositiveSmallIntegerField(
        _("position"),
        default=0,
        help_text=_("Of a model's cases the first is the one that is drawn in a hand-over, while nobody else is."),
    )
    note = models.TextField(_("note"), blank=True)
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("golden case")
        verbose_name_plural = _("golden cases")
        ordering = ["model", "position", "slug"]

    def __str__(self) -> str:
        return self.slug

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        """Each field, and what it starts from as far as a form shows it. Raises ValidationError."""
        super().clean_fields(exclude=exclude)
        skipped = set(exclude or ())
        if self.model_id and not {"model", "task", "starts_from"} & skipped:
            self.check_start()

    def check_start(self) -> None:
        """Whether it can be drawn from what it names. Raises ValidationError by field."""
        followers = [] if self._state.adding else list(self.followers.select_related("model"))
        errors = check_start(self, followers=bool(followers))
        for follower in followers:
            follower.starts_from = self
        left = [one.slug for one in followers if "starts_from" in check_start(one, followers=False)]
        if left and not errors:
            errors["model"] = _("%(names)s start from this case, which must be one of their model") % {
                "names": ", ".join(left)
            }
        if errors:
            raise ValidationError(errors)


class Comparison(models.Model):
    """One run of `release compare`. Its pictures become the references when its release is promoted."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    lane = models.CharField(_("lane"), max_length=10)
    release = models.ForeignKey(
        "generation.Release", verbose_name=_("release"), on_delete=models.PROTECT, null=True, related_name="+"
    )
    release_name = models.CharField(_("release"), max_length=40)
    against = models.CharField(_("against"), max_length=20)  # the other lane, or `references`
    against_release = models.CharField(_("release before"), max_length=40, blank=True)
    whole = models.BooleanField(_("all cases"), default=True)  # a part of them says little about a release
    verdict = models.CharField(_("verdict"), max_length=10, choices=Verdict.choices, blank=True)  # once it has ended
    by_model = models.JSONField(_("by model"), default=list)  # latencies, waits, errors by code, what is wrong
    skipped = models.JSONField(_("not drawn"), default=list)  # slugs whose model neither lane serves
    by = models.CharField(_("by"), max_length=80, blank=True)
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished"), null=True)
    promoted_at = models.DateTimeField(_("taken as references"), null=True)

    class Meta:
        verbose_name = _("comparison")
        verbose_name_plural = _("comparisons")
        indexes = [
            models.Index(fields=["-started_at", "-id"], name="generation_comparison_time"),
            models.Index(fields=["-promoted_at"], name="generation_comparison_refs"),
        ]

    @property
    def is_red(self) -> bool:
        """Whether its release should not be promoted."""
        return self.verdict == Verdict.RED

    def __str__(self) -> str:
        return f"{self.lane}, {self.release_name}, {self.started_at:%Y-%m-%d %H:%M:%S} UTC"


class ComparedCase(models.Model):
    """One case of a comparison: its pictures, how far they are apart, and what is wrong. `old` is the other side's.

    A picture is the SHA-256 of its file under `STUDIO_MEDIA/comparisons`; empty where there is none.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="cases")
    slug = models.CharField(_("case"), max_length=60)
    position = models.PositiveSmallIntegerField(default=0)
    model = models.CharField(_("model"), max_length=60)
    prompt = models.TextField(_("prompt"))
    params = models.JSONField(_("parameters"))  # all that the picture follows from, as it was resolved
    params_sha256 = models.CharField(max_length=64)  # a reference counts for the very same only
    tolerance = models.CharField(_("tolerance"), max_length=10, choices=Tolerance.choices)
    verdict = models.CharField(_("verdict"), max_length=10, choices=Verdict.choices)
    reasons = models.JSONField(default=list)  # {code, level, and the numbers}
    ssim = models.FloatField(null=True)
    bits = models.PositiveSmallIntegerField(null=True)
    colour = models.FloatField(null=True)
    new_sha256 = models.CharField(max_length=64, blank=True)
    old_sha256 = models.CharField(max_length=64, blank=True)
    input_sha256 = models.CharField(max_length=64, blank=True, default="", db_default="")  # what both started from
    new_error = models.CharField(max_length=40, blank=True)
    old_error = models.CharField(max_length=40, blank=True)
    new_wait_ms = models.PositiveIntegerField(null=True)
    old_wait_ms = models.PositiveIntegerField(null=True)
    new_run_ms = models.PositiveIntegerField(null=True)
    old_run_ms = models.PositiveIntegerField(null=True)
    hardware = models.CharField(max_length=80, blank=True)  # of the new picture

    class Meta:
        ordering = ["model", "position", "slug"]
        constraints = [models.UniqueConstraint("comparison", "slug", name="generation_comparedcase_unique")]
        indexes = [
            models.Index(fields=["slug", "params_sha256"], name="generation_comparedcase_ref"),
        ]

    def __str__(self) -> str:
        return self.slug
