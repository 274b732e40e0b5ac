"""What has to be known to read the house does not grow."""

from __future__ import annotations

import json


def test_the_house_is_no_larger_than_it_may_be(script):
    house = script("house")
    found = house.counts()
    assert {name: found[name] for name, most in house.MOST.items() if found[name] > most} == {}


def test_lines_that_pass_a_value_on_and_networks_are_counted(script):
    house = script("house")
    text = json.dumps({"seed": "@seed", "lr": "@rate", "a": {"amp": "@amp", "n": {"_target_": "x.VQVAE"}}}, indent=4)
    assert house.PASSED_ON.findall(text) == ["seed", "amp"]
    assert house.definitions(text, "VQVAE") == 1
    assert house.definitions('"$networks.LatentPrior(@a)", "b.LatentPrior"', "LatentPrior") == 2
