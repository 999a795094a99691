"""Stages, guardrails and the controller that moves traffic and takes it back.

Until it is here, every route table sends all user traffic to the incumbent.
"""
