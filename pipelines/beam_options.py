"""Beam's options, whose views are made once."""

from __future__ import annotations

from apache_beam.options.pipeline_options import PipelineOptions, PipelineOptionsT


class BeamOptions(PipelineOptions):
    """PipelineOptions as the launcher's pipeline holds them.

    Beam asks for a view at every step that it builds, some 400 times, and makes a parser of all its flags for each: half a
    second of a small run. Views share the options themselves, so one of each kind will do.
    """

    def view_as(self, cls: type[PipelineOptionsT]) -> PipelineOptionsT:
        views = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        view: PipelineOptionsT = views[cls]
        return view
