"""Steer a campaign that runs, from any process: notes, pauses, the end of a single trial."""

from __future__ import annotations

from recipelab.campaign.reader import CampaignReader
from recipelab.core.errors import RecipelabError
from recipelab.lineage import Note


class CampaignSteering(CampaignReader):
    """A campaign that people steer while it runs, here or in another process."""

    def note(self, text: str, *, specialist: str | None = None, trial: int | None = None) -> Note:
        """Leave a note, which specialists see from their next turn on until it is retired.

        Args:
            text: What it says.
            specialist: The specialist that it is for; ``None`` for all.
            trial: The trial that it is about, if it is about one.

        Raises:
            LineageError: The text is blank, or there is no such trial.
        """
        return self.store.add_note(self.name, text, specialist=specialist, trial=trial)

    def notes(self) -> tuple[Note, ...]:
        """Return the notes that hold."""
        return tuple(self.store.notes(self.name))

    def retire_note(self, number: int) -> None:
        """Take a note out of the specialists' sight.

        Raises:
            LineageError: There is no such note.
        """
        self.store.retire_note(self.name, number)

    def pause(self) -> None:
        """Let a running campaign begin no trial until :meth:`unpause`; trials that run go on.

        Raises:
            RecipelabError: No process runs it, so that there is nothing to pause.
        """
        if not self.is_running:
            raise RecipelabError(
                f"no process runs campaign {self.name} ({self.record.state}) from "
                f"{self.home.root}, so there is nothing to pause; go on with it: recipelab resume "
                f"{self.name}"
            )
        self.store.pause_campaign(self.name)

    def unpause(self) -> bool:
        """Let a paused campaign go on where it runs.

        Returns:
            Whether it was paused and runs; otherwise nothing has changed.
        """
        if not (self.is_paused and self.is_running):
            return False
        self.store.pause_campaign(self.name, paused=False)
        return True

    def stop(self) -> None:
        """Ask the processes that run the campaign to end it, as Ctrl-C there does, within seconds.

        Trials in flight are stopped, and run again when it is resumed.

        Raises:
            RecipelabError: No process runs it, or the campaign's folder belongs to another user.
        """
        from recipelab.evaluation.live import LiveBoard

        if not self.is_running:
            raise RecipelabError(
                f"no process runs campaign {self.name} ({self.record.state}) from "
                f"{self.home.root}, so there is nothing to stop"
            )
        if self.drivers:
            self.store.ask_drivers_to_stop(self.name)
        else:
            LiveBoard(self.home.live(self.name)).ask_to_stop()

    def kill(self, trial: int) -> None:
        """Ask the process that runs the campaign to end a trial; it does so within some seconds.

        The trial is ``aborted`` then, spends nothing of the budget of trials, and is not run again.

        Raises:
            RecipelabError: No process runs the campaign, the trial is not in flight or is the
                baseline, or the campaign's folder belongs to another user.
        """
        from recipelab.evaluation.live import LiveBoard

        self._check_ran_here()
        record = self.trial(trial)
        if not self.is_running:
            raise RecipelabError(
                f"no process runs campaign {self.name} from {self.home.root}, so trial {trial} "
                "does not run"
            )
        if trial == 0:
            raise RecipelabError(
                "trial 0 is the baseline, without which the campaign cannot go on; end the whole "
                "campaign by Ctrl-C where it runs"
            )
        if record.outcome is not None:
            flying = [brief.number for brief in self.store.in_flight_briefs(self.name)]
            valid = ", ".join(str(number) for number in flying if number) or "(none is in flight)"
            raise RecipelabError(
                f"trial {trial} has ended: {record.outcome.status}; valid: {valid}"
            )
        if self.drivers:
            self.store.ask_driver_to_kill(self.name, trial)
        else:
            LiveBoard(self.home.live(self.name)).ask_to_kill(trial)

    def _check_ran_here(self) -> None:
        if self._plan is None and self.is_imported:
            raise RecipelabError(
                f"campaign {self.name} was imported and cannot go on; name another, or start one "
                f"that can ask it: recipelab run PACK --prior {self.name}"
            )
