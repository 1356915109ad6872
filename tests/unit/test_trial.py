"""What an operator reads of a configuration that a charon on trial refuses."""

from __future__ import annotations

from hostipsec.apply import trial

# swanctl --load-all of Debian 12, 5.9.8
SAID = """plugin 'ldap': failed to load - ldap_plugin_create not found and no plugin file available
plugin 'rdrand': failed to load - rdrand_plugin_create not found and no plugin file available
loaded certificate from '/etc/swanctl/x509/a.pem'
no authorities found, 0 unloaded
loading connection 'b_v4' failed: invalid value for: mobike, config discarded
loaded 0 of 1 connections, 1 failed to load, 0 unloaded
"""


def test_why_swanctl_failed_is_told_without_the_plugins_that_it_does_without():
    """A dozen lines about plugins stood before the one that counts."""
    assert trial.why(SAID) == (
        "loading connection 'b_v4' failed: invalid value for: mobike, config discarded; "
        "loaded 0 of 1 connections, 1 failed to load, 0 unloaded"
    )


def test_what_no_word_of_failure_is_in_is_told_as_it_is():
    assert trial.why("plugin 'ldap': failed to load\nconnecting to 'unix:///run/charon.vici'") == (
        "connecting to 'unix:///run/charon.vici'"
    )
