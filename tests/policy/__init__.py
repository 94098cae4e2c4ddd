"""Tests of meshcar.policy."""
